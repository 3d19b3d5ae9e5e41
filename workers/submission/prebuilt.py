"""Build messages from a template instead of having Celery and kombu build each one.

Two messages of one task on one queue differ only in the job's id, a random tag and the sending thread. So Celery builds
the first, which is intercepted before it is sent, and the others are made from its text. Celery builds and sends a
message itself if something may observe or change it on its way: a handler of Celery's publishing signals is connected,
a library has replaced a function that builds or sends messages (as tracers do), the call has options, or it is made in
a task's body, so that its message names its parent.
"""

from __future__ import annotations

import base64
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import FunctionType
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from celery import Celery, signals
from celery.app.amqp import AMQP
from kombu.messaging import Producer

from jobclaim.jobs import Job
from jobclaim.workers.messages.message import headers

WATCHED: Final = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
ON_THE_WAY: Final = (
    (Celery, "send_task", "celery/app/base.py"),
    (AMQP, "as_task_v2", "celery/app/amqp.py"),
    (Producer, "publish", "kombu/messaging.py"),
    (Producer, "_publish", "kombu/messaging.py"),
)
"""Functions that build and send a message, and the files that they come from."""
MARK: Final = "jobclaim-id-of-a-template"
BODY: Final = "jobclaim-body-of-a-template"
PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
"""Ids that are the same text in JSON and in Celery's ``argsrepr``."""
MOST_TEMPLATES: Final = 1_000


class Catcher:
    """Replaces the SQS client of one channel, and collects the messages to be sent."""

    def __init__(self) -> None:
        self.caught: list[dict[str, Any]] = []

    def send_message(self, **request: Any) -> None:
        """Collect a message."""
        self.caught.append(request)


@contextmanager
def catching(app: Celery) -> Iterator[tuple[Any, Catcher]]:
    """Provide a producer whose messages are intercepted, and the object that collects them."""
    catcher = Catcher()
    with app.connection_for_write() as connection:
        channel = connection.channel()
        channel.sqs = lambda *_, **__: catcher
        yield app.amqp.Producer(channel, auto_declare=False), catcher


@dataclass(frozen=True, slots=True)
class Template:
    """The text of a message, with placeholders for the parts that differ between messages.

    Attributes
    ----------
    made_for : tuple
        The task, the settings and the process that it was made for.
    envelope, call : str
        kombu's envelope and Celery's call, as JSON; empty if Celery must send the messages.
    tag, thread : str
        The random tag and the thread's id in the envelope.
    """

    made_for: tuple[Any, Any, int]
    url: str = ""
    envelope: str = ""
    call: str = ""
    tag: str = ""
    thread: str = ""

    def fits(self, made_for: tuple[Any, Any, int]) -> bool:
        """Check whether it was made for this task, these settings and this process."""
        (task, settings, process), (known_task, known_settings, known_process) = made_for, self.made_for
        return task is known_task and settings is known_settings and process == known_process

    def body(self, job_id: str, thread: str) -> str:
        """Return the body of a job's message."""
        text = self.envelope.replace(self.tag, str(uuid.uuid4())).replace(self.thread, thread)
        return _encoded(text.replace(BODY, _encoded(self.call.replace(MARK, job_id))).replace(MARK, job_id))


def request_of(app: Any, job: Job, delay_seconds: int = 0) -> dict[str, Any] | None:
    """Return the SendMessage request of a job's next message; ``None`` if Celery must send it."""
    if job.envelope or not PLAIN_ID.fullmatch(job.job_id) or not is_direct(app):
        return None
    try:
        template = _template_of(app, job)
    except Exception:  # noqa: BLE001 - the caller then lets Celery send, which raises the error again or does not fail
        return None
    if not template.envelope:
        return None
    request = {"QueueUrl": template.url, "MessageBody": template.body(job.job_id, app.thread_oid)}
    return {**request, "DelaySeconds": delay_seconds} if delay_seconds else request


def is_sent(app: Any, job: Job, delay_seconds: int) -> bool:
    """Send a job's next message; ``False`` if Celery must send it, also after an error of SQS: Celery retries as often
    as the app's configuration says.
    """
    request = request_of(app, job, delay_seconds)
    if request is None:
        return False
    from jobclaim.workers.transport.client import sqs_client

    with suppress(ClientError, BotoCoreError):
        sqs_client(app.jobclaim.settings).send_message(**request)
        return True
    return False


def is_direct(app: Any) -> bool:
    """Check that nothing observes or changes messages on their way through Celery and kombu, and that no body sends
    them.
    """
    return (
        not any(signal.receivers for signal in WATCHED)
        and all(_is_original(vars(owner).get(name), file) for owner, name, file in ON_THE_WAY)
        and getattr(app.send_task, "__func__", None) is Celery.send_task
        and type(app.amqp) is AMQP
        and app.current_worker_task is None
    )


def _is_original(function: Any, file: str) -> bool:
    return type(function) is FunctionType and function.__code__.co_filename.endswith(file)


def _template_of(app: Any, job: Job) -> Template:
    templates: dict[tuple[Any, ...], Template] = app.jobclaim.templates
    key, made_for = (job.task, job.queue, job.attempt, job.charged), (app._tasks.get(job.task), app.jobclaim.settings)
    found = templates.get(key)
    if found is None or not found.fits((*made_for, os.getpid())):
        if len(templates) >= MOST_TEMPLATES:
            templates.clear()
        found = templates[key] = _template(app, job, (*made_for, os.getpid()))
    return found


def _template(app: Any, job: Job, made_for: tuple[Any, Any, int]) -> Template:
    """Let Celery build a message and make a template of it; an empty template if the message is unusual."""
    from jobclaim.workers.transport.channel import Channel  # it loads pycurl, which a first send does too

    with catching(app) as (producer, catcher):
        if not isinstance(producer.channel, Channel):
            return Template(made_for)
        send(app, replace(job, job_id=MARK), producer=producer)
    [request] = catcher.caught
    envelope = base64.b64decode(request["MessageBody"], validate=True).decode()
    body, properties = (json.loads(envelope)[name] for name in ("body", "properties"))
    call, tag, thread = base64.b64decode(body).decode(), properties["delivery_tag"], properties["reply_to"]
    usual = properties["body_encoding"] == "base64" and request.keys() == {"QueueUrl", "MessageBody"} and thread
    if not usual or app.conf.task_send_sent_event or json.loads(call)[0] != [MARK]:
        return Template(made_for)
    return Template(made_for, request["QueueUrl"], envelope.replace(body, BODY), call, tag, thread)


def send(app: Any, job: Job, **options: Any) -> Any:
    """Have Celery send the message of a job's next attempt; return its result handle."""
    return app.send_task(
        job.task,
        args=[job.job_id],
        kwargs={},
        task_id=job.job_id,
        queue=job.queue,
        retries=job.charged,
        expires=None,  # the job has the expiry: a message that Celery drops by itself would leave the job waiting
        headers={**options.pop("headers", {}), **headers(job)},
        **options,
    )


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
