"""No log line carries an argument's value, unless the settings allow that argument."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from celery import shared_task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobclaim.jobs import JobError
from jobclaim.jobs.redaction import MASK, mask, masked_exception, redact, without_quotes
from jobclaim.settings import Settings
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.telemetry import logs
from tests.support.volume import volume

SECRETS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz'\" =\\", min_size=3, max_size=12).map(
    lambda text: f"s3cret-{text}"
)
MARK = "s3cret-"


@shared_task(base=JobTask, bind=True, name="redaction.body", max_retries=1)
def body(self: JobTask, how: str, *, secret: Any = None, invoice: int = 0) -> Any:
    """End in one of many ways, each of them with the secret at hand."""
    if how == "raise":
        raise ValueError(f"cannot use {secret!r} or {secret}")
    if how == "retry":
        raise self.retry(exc=KeyError(secret), countdown=1)
    if how == "snooze":
        self.snooze(5, reason=f"waits for {secret!r}")
    if how == "result":
        return object()
    return secret


class Lines:
    """What a worker's log would hold."""

    def __init__(self, stream: io.StringIO) -> None:
        self.stream = stream

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def of(self, event: str) -> list[dict[str, Any]]:
        rows = [json.loads(line) for line in self.text.splitlines()]
        return [row for row in rows if row["event"] == event]


@pytest.fixture
def lines() -> Iterator[Lines]:
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    logs.configure(Settings(log_level="DEBUG"))
    structlog.configure(cache_logger_on_first_use=False)
    stream = io.StringIO()
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield Lines(stream)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


@settings(max_examples=volume(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=SECRETS, how=st.sampled_from(["raise", "retry", "snooze", "result", "fine"]))
def test_no_line_of_a_jobs_life_shows_its_arguments(jobclaim: Harness, lines: Lines, secret: str, how: str) -> None:
    lines.stream.truncate(0)
    lines.stream.seek(0)
    body.delay(how, secret={"inner": [secret]}, invoice=7)
    jobclaim.travel(60)
    jobclaim.drain()
    with pytest.raises(JobError):
        body.apply_async(("fine",), {"secret": secret}, queue=secret)
    with pytest.raises(JobError):
        body.delay("fine", secret={secret: object()})
    assert lines.of("job.submitted")
    assert lines.of("claim.acquired")
    assert MARK not in lines.text


def test_an_allowed_argument_is_shown_and_no_other(jobclaim: Harness, lines: Lines) -> None:
    jobclaim.use(log_arguments=("invoice",))
    body.delay("fine", secret="s3cret-x", invoice=4711)
    jobclaim.drain()
    for event in ("job.submitted", "claim.acquired"):
        assert lines.of(event)[0]["arguments"] == {"invoice": 4711}
    assert MARK not in lines.text


def line(**fields: Any) -> dict[str, Any]:
    """Pass a line through."""
    return dict(redact(None, "info", {"logger": "jobclaim.worker", "event": "claim.acquired", **fields}))


def test_a_field_that_nobody_registered_is_masked() -> None:
    assert line(password="hunter2")["password"] == MASK
    assert line(job_id="a")["job_id"] == "a"


def test_users_own_lines_are_theirs() -> None:
    event = {"logger": "shop", "event": "paid", "amount": 3}
    assert redact(None, "info", dict(event)) == event


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("payload 'a b' is odd", f"payload {MASK} is odd"),
        ('it says "x\\"y" twice', f"it says {MASK} twice"),
        ("limit=77 is low", f"limit={MASK} is low"),
        ("job 'j-1' is over", "job 'j-1' is over"),
        ("'j-1' is over", "'j-1' is over"),
        ("task 'shop.pay' is not registered in this worker", "task 'shop.pay' is not registered in this worker"),
        ("no job has the id 'a:b-2'", "no job has the id 'a:b-2'"),
        ("queue name 'mail' and header 'x-id'", "queue name 'mail' and header 'x-id'"),
        ("task=shop.pay with card=4111", f"task=shop.pay with card={MASK}"),
        ("task 'my card is 4111'", f"task {MASK}"),
        ("the queue's 'a b' isn't the job's 'c d'", f"the queue's {MASK} isn't the job's {MASK}"),
        ("jobs' payload can't hold 'it's mine' here", f"jobs' payload can't hold {MASK} here"),
        ("bytes b'4111' and b\"41'11\"", f"bytes {MASK} and {MASK}"),
        ("cut off: 'secret that goes", f"cut off: {MASK}"),
        (
            'Could not connect to the endpoint URL: "http://127.0.0.1:8/a?b=c"',
            "Could not connect to the endpoint URL: http://127.0.0.1:8",
        ),
        ('the endpoint URL: "https://ann:hunter2@sqs.example/"', "the endpoint URL: https://sqs.example"),
        ('the endpoint URL: "https://[::1]:9/x"', "the endpoint URL: https://[::1]:9"),
        ('the endpoint URL: "card 4111"', f"the endpoint URL: {MASK}"),
        ('the endpoint URL: "http:///path"', f"the endpoint URL: {MASK}"),
        ('the endpoint URL: "http://x:port/"', f"the endpoint URL: {MASK}"),
        ('the endpoint URL: "ftp://host/"', f"the endpoint URL: {MASK}"),
        ('he wrote "http://x/?token=4111"', f"he wrote {MASK}"),
        ("not on queues 'low', 'my-queue' or 'a b'", f"not on queues 'low', 'my-queue' or {MASK}"),
        ("configured queues: ['default', 'mail']", "configured queues: ['default', 'mail']"),
        ("the values: ['default', 'mail']", f"the values: [{MASK}, {MASK}]"),
        ("step 'charge' of job 'a' got 'x'", f"step 'charge' of job 'a' got {MASK}"),
        ("kind='TRANSIENT' of card='4111'", f"kind='TRANSIENT' of card={MASK}"),
        ("it doesn't know task 'a.b' and won't run 'x'", f"it doesn't know task 'a.b' and won't run {MASK}"),
    ],
)
def test_free_text_keeps_its_words_and_loses_what_it_quotes(text: str, masked: str) -> None:
    assert without_quotes(text, {"job_id": "j-1", "reason": "it's mine", "card": "4111", "x": "a b"}) == masked


def test_a_traceback_keeps_its_frames_and_loses_its_message() -> None:
    secret = "s3cret-1"
    try:
        raise ValueError(secret) from KeyError(secret)
    except ValueError as error:
        shown = line(exc_info=(type(error), error, error.__traceback__))
    assert "test_redaction.py" in shown["exception"]
    assert shown["exception"].endswith("builtins.ValueError")
    assert secret not in str(shown["exception"]).replace('secret = "s3cret-1"', "")


@pytest.mark.parametrize(
    ("logger", "shortened", "masked"),
    [
        ("jobclaim.jobs", True, True),
        ("celery.worker", True, False),
        ("kombu.connection", True, False),
        ("celery.app.trace", False, False),  # how a plain task ended is its user's
        ("shop", False, False),
    ],
)
def test_only_lines_of_ours_and_of_what_carries_us_lose_their_errors_message(
    logger: str, shortened: bool, masked: bool
) -> None:
    try:
        raise ValueError("s3cret")
    except ValueError as error:
        event = {"logger": logger, "card": "4111", "exc_info": error}
        told = redact(None, "error", dict(event))
    assert ("exception" in told, "exc_info" in told) == (shortened, not shortened)
    assert str(told.get("exception", "")).endswith("builtins.ValueError" if shortened else "")
    assert told["card"] == (MASK if masked else "4111")


def test_free_text_that_is_no_text_is_left_as_it_is_and_what_is_no_exception_gives_none() -> None:
    event: dict[str, Any] = {"reason": 5, "error": None, "queue": "mail"}
    mask(event)

    assert event == {"reason": 5, "error": None, "queue": "mail"}
    assert masked_exception("text") is masked_exception(None) is None
