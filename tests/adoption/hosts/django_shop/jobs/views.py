"""Apply for a job at the shop, in each way in which a Django view can start a task."""

from functools import partial

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import JsonResponse
from django.views.decorators.http import require_POST

from jobs.models import Application
from jobs.tasks import screen


def accepted(application):
    """Answer before the work is done."""
    return JsonResponse({"application": application.pk}, status=202)


@require_POST
def apply(request):
    """Apply; the task is sent from a plain view."""
    application = Application.objects.create(name=request.POST["name"])
    screen.delay(application.pk)
    return accepted(application)


@require_POST
def apply_on_commit(request):
    """Apply; the task is sent when the transaction is committed."""
    with transaction.atomic():
        application = Application.objects.create(name=request.POST["name"])
        screen.delay_on_commit(application.pk)
    return accepted(application)


@require_POST
def apply_callback(request):
    """Apply; the transaction calls back, as before Celery 5.4."""
    with transaction.atomic():
        application = Application.objects.create(name=request.POST["name"])
        transaction.on_commit(partial(screen.apply_async, args=[application.pk]))
    return accepted(application)


@require_POST
async def apply_async(request):
    """Apply; the task is sent from an async view."""
    application = await Application.objects.acreate(name=request.POST["name"])
    screen.delay(application.pk)
    return accepted(application)


@require_POST
async def apply_async_in_thread(request):
    """Apply; the task is sent from an async view's thread."""
    application = await Application.objects.acreate(name=request.POST["name"])
    await sync_to_async(screen.delay, thread_sensitive=False)(application.pk)
    return accepted(application)


def show(request, application_id):
    """Show how far an application has come."""
    application = Application.objects.get(pk=application_id)
    return JsonResponse({"screenings": application.screenings, "receipts": application.receipts})
