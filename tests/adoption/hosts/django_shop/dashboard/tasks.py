"""What is counted for the staff."""

from celery import shared_task
from jobs.models import Application

from dashboard.models import Figure


@shared_task
def refresh_figures():
    """Count the applications."""
    return Figure.objects.create(applications=Application.objects.count()).applications
