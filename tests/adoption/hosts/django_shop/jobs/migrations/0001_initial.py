"""The first tables."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Applications."""

    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Application",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=80)),
                ("screenings", models.IntegerField(default=0)),
                ("receipts", models.IntegerField(default=0)),
            ],
        ),
    ]
