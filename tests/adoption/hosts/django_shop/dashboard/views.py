"""What the staff see."""

from celery.result import AsyncResult
from django.http import JsonResponse
from django.views.decorators.http import require_POST

from dashboard.models import Figure
from dashboard.tasks import refresh_figures


def figures(request):
    """Show how often it was counted."""
    return JsonResponse({"figures": Figure.objects.count()})


@require_POST
def refresh(request):
    """Count again."""
    return JsonResponse({"task": refresh_figures.delay().id}, status=202)


def result(request, task_id):
    """Show the state of a count."""
    return JsonResponse({"state": AsyncResult(task_id).state})
