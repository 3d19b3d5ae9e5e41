"""A task that tells what the process holds that it runs in."""

from __future__ import annotations

import sys

from botocore.client import BaseClient
from celery import shared_task

from jobclaim.workers import JobTask


@shared_task(base=JobTask, name="tests.held_by_child")
def held_by_child() -> dict[str, list[str]]:
    """Give the names of all modules, and of the classes that boto3 has made for its clients."""
    return {"modules": sorted(sys.modules), "clients": [made.__name__ for made in BaseClient.__subclasses__()]}
