"""The first tables."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Figures."""

    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel(
            name="Figure",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("applications", models.IntegerField()),
                ("at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
    ]
