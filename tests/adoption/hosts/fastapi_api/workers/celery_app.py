"""The API's Celery app: ``celery -A workers.celery_app worker``."""

from celery import Celery
from settings import settings

app = Celery("api", broker=settings.broker_url, include=["workers.images", "workers.mail"])
app.set_default()  # FastAPI's threads find it too
app.conf.update(
    task_acks_late=True,
    timezone="America/New_York",
    task_routes={"workers.images.*": {"queue": "images"}},
    beat_schedule={"tidy": {"task": "workers.mail.tidy", "schedule": settings.tidy_seconds}},
)
