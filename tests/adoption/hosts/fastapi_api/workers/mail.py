"""Mails and tidying."""

from celery import shared_task

from workers.images import append


@shared_task
def notify(name: str) -> None:
    """Tell that something is ready."""
    append("mails.txt", name)


@shared_task
def tidy() -> None:
    """Look through the storage."""
    append("tidied.txt", "tidied")
