"""Applications for a job at the shop."""

from django.db import models


class Application(models.Model):
    """Somebody applies for a job."""

    name = models.CharField(max_length=80)
    screenings = models.IntegerField(default=0)
    receipts = models.IntegerField(default=0)
