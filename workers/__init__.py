"""Celery on jobs: the app, the base classes of tasks, and what makes a worker survive SQS."""

from workers.app import app, create_app
from workers.task import JobTask

__all__ = ["JobTask", "app", "create_app"]
