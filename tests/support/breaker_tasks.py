"""Tasks that call a service that may be down."""

from __future__ import annotations

import os
import urllib.request
from typing import Any

from celery import shared_task

from jobclaim.fleet.breaker import Breaker
from jobclaim.workers import JobTask
from jobclaim.workers.guarded import circuit_breaker

FAKE = Breaker(name="fake", failures=1, open_seconds=3, probe_seconds=10)


def call() -> int:
    with urllib.request.urlopen(os.environ["FAKE_SERVICE_URL"], timeout=5) as answer:
        return int(answer.status)


@shared_task(base=JobTask, bind=True, name="tests.guarded", breaker=FAKE, autoretry_for=(Exception,), max_retries=3)
def guarded(self: Any) -> int:
    """The whole body under a breaker."""
    return call()


@shared_task(base=JobTask, bind=True, name="tests.guarded_inside")
def guarded_inside(self: Any) -> int:
    """One call under the same breaker."""
    with circuit_breaker(FAKE):
        return call()
