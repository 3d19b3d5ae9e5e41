"""A message made of a template is the one that Celery would send; and Celery sends where anybody watches."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from botocore.exceptions import EndpointConnectionError
from celery import Celery

import jobclaim
from jobclaim.jobs import Job, JobStatus
from jobclaim.settings import Settings
from jobclaim.workers import JobTask
from jobclaim.workers.submission import dispatch, prebuilt
from jobclaim.workers.transport import channel, client, queues

JOB = Job(job_id="8c1f", task="prebuilt.task", queue="default", status=JobStatus.PENDING, payload={}, dispatches=1)


class Sent:
    """Stands in for the SQS client."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.failures = 0

    def send_message(self, **request: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise EndpointConnectionError(endpoint_url="http://sqs")
        self.requests.append(request)


@pytest.fixture
def app() -> Iterator[Celery]:
    urls = {name: f"http://127.0.0.1:1/000000000000/jobclaim-{name}" for name in Settings().queue_names}
    settings = Settings(endpoint_url="http://127.0.0.1:1", queue_urls=urls)
    made = Celery("prebuilt", set_as_current=False)
    jobclaim.install(made, settings)

    @made.task(base=JobTask, name="prebuilt.task", soft_time_limit=5, shared=False)
    def task() -> None: ...

    yield made
    made.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    made = Sent()
    for module in (channel, client, queues):
        monkeypatch.setattr(module, "sqs_client", lambda _: made)
    return made


@pytest.fixture
def by_celery(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the jobs whose messages Celery sends; those of templates left out."""
    seen: list[str] = []
    own = prebuilt.send

    def noting(app: Any, job: Job, **options: Any) -> Any:
        seen.extend([job.job_id] if job.job_id != prebuilt.MARK else [])
        return own(app, job, **options)

    monkeypatch.setattr(prebuilt, "send", noting)
    return seen


def read(request: dict[str, Any]) -> dict[str, Any]:
    """Decode a message; the random tag and the copy of SQS's own parameter, which nothing reads, are left out."""
    envelope = json.loads(base64.b64decode(request["MessageBody"]))
    envelope["properties"].pop("DelaySeconds", None)
    assert len(envelope["properties"].pop("delivery_tag")) == 36
    call = json.loads(base64.b64decode(envelope.pop("body")))
    return {**request, "MessageBody": envelope, "call": call}


@pytest.mark.parametrize(
    "job",
    [
        JOB,
        replace(JOB, attempt=3, charged=2),
        replace(JOB, job_id="nightly.7:a_b-C"),
        replace(JOB, task="not.registered.here"),
    ],
    ids=["new", "retried", "chosen id", "unregistered"],
)
@pytest.mark.parametrize("delay", [0, 12.3])
def test_it_is_the_message_that_celery_sends(
    app: Celery, sent: Sent, by_celery: list[str], job: Job, delay: float
) -> None:
    for other in (replace(job, job_id="earlier"), job):
        handle = dispatch.publish(app, other, delay)
    assert (handle.id, by_celery) == (job.job_id, [])
    prebuilt.send(app, job, **({"DelaySeconds": 13} if delay else {}))
    assert read(sent.requests[1]) == read(sent.requests[2])


def test_every_message_has_a_tag_of_its_own(app: Celery, sent: Sent) -> None:
    for _ in range(2):
        dispatch.publish(app, JOB)
    first, second = (json.loads(base64.b64decode(one["MessageBody"])) for one in sent.requests)
    assert first["properties"].pop("delivery_tag") != second["properties"].pop("delivery_tag")
    assert first == second


def test_a_template_is_made_once(app: Celery, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(prebuilt, "_template", functools.partial(_counted, made, prebuilt._template))
    for number in range(3):
        dispatch.publish(app, replace(JOB, job_id=f"job-{number}"))
    assert len(made) == 1
    app.jobclaim.use(app.jobclaim.settings.model_copy())
    dispatch.publish(app, JOB)
    assert len(made) == 2, "other settings may have other queues"


def _counted(made: list[str], make: Callable[..., Any], app: Any, job: Job, made_for: Any) -> Any:
    made.append(job.job_id)
    return make(app, job, made_for)


def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function as tracers do."""

    @functools.wraps(original)
    def traced(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    return traced


@pytest.mark.parametrize("signal", prebuilt.WATCHED, ids=lambda signal: signal.name)
def test_celery_sends_while_a_signal_is_connected(app: Celery, sent: Sent, by_celery: list[str], signal: Any) -> None:
    def seen(**_: Any) -> None: ...

    signal.connect(seen)
    try:
        dispatch.publish(app, JOB)
    finally:
        signal.disconnect(seen)
    assert by_celery == [JOB.job_id]


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, name, _ in prebuilt.ON_THE_WAY])
def test_celery_sends_where_a_library_has_wrapped_a_function(
    app: Celery, sent: Sent, by_celery: list[str], monkeypatch: pytest.MonkeyPatch, owner: type, name: str
) -> None:
    monkeypatch.setattr(owner, name, wrapped(vars(owner)[name]))
    dispatch.publish(app, JOB)
    assert by_celery == [JOB.job_id]


@pytest.mark.parametrize(
    ("job", "options"),
    [
        (replace(JOB, envelope='{"shadow":"x"}'), {}),
        (replace(JOB, job_id="it's"), {}),
        (replace(JOB, job_id="x" * 129), {}),
        (JOB, {"retry": False}),
    ],
    ids=["envelope", "quote", "long", "option"],
)
def test_celery_sends_what_a_template_does_not_fit(
    app: Celery, sent: Sent, by_celery: list[str], job: Job, options: dict[str, Any]
) -> None:
    dispatch.publish(app, job, **options)
    assert by_celery == [job.job_id]
    assert len(sent.requests) == 1


def test_celery_sends_from_a_task_s_body_and_names_the_parent(
    app: Celery, sent: Sent, by_celery: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parent: Any = app.tasks["prebuilt.task"]
    monkeypatch.setattr(type(app), "current_worker_task", property(lambda _: parent))
    parent.push_request(id="the-parent", root_id="the-root", children=[], delivery_info={})
    try:
        dispatch.publish(app, JOB)
    finally:
        parent.pop_request()
    assert by_celery == [JOB.job_id]
    assert read(sent.requests[0])["MessageBody"]["headers"]["parent_id"] == "the-parent"


def test_what_sqs_refuses_is_sent_by_celery_as_its_configuration_says(
    app: Celery, sent: Sent, by_celery: list[str]
) -> None:
    sent.failures = 2
    dispatch.publish(app, JOB)
    assert by_celery == [JOB.job_id]
    assert len(sent.requests) == 1


def test_nothing_is_sent_for_a_template_on_another_transport(sent: Sent) -> None:
    app = Celery("elsewhere", broker="memory://", set_as_current=False)
    with app.connection_for_write() as connection:
        queue = connection.SimpleQueue("default")
        queue.clear()  # the messages in memory are the process's, so those of other tests too
        assert not prebuilt._template(app, JOB, (None, None, 0)).envelope
        assert queue.qsize() == 0


def test_a_template_that_cannot_be_made_now_is_made_later(
    app: Celery, sent: Sent, by_celery: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as outage:
        outage.setattr("base64.b64decode", Mock(side_effect=ValueError))
        dispatch.publish(app, JOB)
    dispatch.publish(app, JOB)
    assert by_celery == [JOB.job_id]
    assert len(sent.requests) == 2
