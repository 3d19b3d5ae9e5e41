"""Plain Celery on SQS, as its documentation sets it up, on the stub: the baseline of jobclaim's measurements."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from celery import Celery

URL = os.environ.get("JOBCLAIM_ENDPOINT_URL", "http://127.0.0.1:1")
QUEUE = "plain"

app = Celery("plain")
app.conf.update(
    broker_url=f"sqs://stub:stub@{urlsplit(URL).netloc}",
    broker_transport_options={
        "is_secure": False,
        "region": "us-east-1",
        "predefined_queues": {QUEUE: {"url": f"{URL}/000000000000/{QUEUE}"}},
        "polling_interval": 0.1,
        "wait_time_seconds": 10,
    },
    task_default_queue=QUEUE,
    worker_prefetch_multiplier=1,
    task_acks_late=False,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_enable_remote_control=False,
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.nothing")
def nothing(number: int) -> None:
    """Do nothing."""
