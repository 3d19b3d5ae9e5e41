"""What is done about an application."""

from celery import shared_task
from django.db.models import F

from jobs.models import Application


@shared_task
def screen(application_id):
    """Look at an application, once, and thank for it."""
    Application.objects.filter(pk=application_id).update(screenings=F("screenings") + 1)
    send_receipt.delay(application_id)
    return {"application": application_id}


@shared_task
def send_receipt(application_id):
    """Thank for an application."""
    Application.objects.filter(pk=application_id).update(receipts=F("receipts") + 1)
