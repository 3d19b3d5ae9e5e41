"""A project with Celery."""
