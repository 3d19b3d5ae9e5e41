"""The API's Celery app and its tasks."""
