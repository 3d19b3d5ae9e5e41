"""Figures of the shop."""

from django.db import models


class Figure(models.Model):
    """How many had applied at some time."""

    applications = models.IntegerField()
    at = models.DateTimeField(auto_now_add=True)
