"""How the end of a body becomes the outcome of its job, rule by rule, on the simulation's model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from billiard import common
from celery.exceptions import (
    Ignore,
    MaxRetriesExceededError,
    Reject,
    Retry,
)
from structlog.testing import capture_logs

from jobclaim.fleet.breaker import Breaker
from jobclaim.jobs import FailureKind, Job, JobCancelled, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.model import Failure
from jobclaim.jobs.protocol.releases import Held
from jobclaim.jobs.transitions import Move
from jobclaim.settings import Settings
from jobclaim.workers.attempt import leaving
from jobclaim.workers.attempt.leaving import End, end_of, record, reported_failure
from jobclaim.workers.guarded import BreakerOpen
from jobclaim.workers.submission.typed import CallDoesNotFit
from jobclaim.workers.telemetry import traces
from tests.simulation.client import model_repo
from tests.support.clock import ManualClock

SETTINGS = Settings(_env_file=None)
BROKEN = ValueError("it broke")
APP: Any = SimpleNamespace(timezone=UTC)


@dataclass
class World:
    """A repo with one claimed job, and what was told beside it.

    Attributes
    ----------
    sent : list
        Jobs whose message was sent.
    spans : list
        Outcome and details of each ended attempt that was traced.
    """

    repo: JobRepo
    clock: ManualClock
    sent: list[Job] = field(default_factory=list)
    spans: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def claimed(self, **options: Any) -> Job:
        self.repo.create_job("t", job_id="j", **options)
        claim = self.repo.claim_job("j")
        assert claim is not None
        return claim

    def job(self) -> Job:
        return self.repo.get_job("j")


@pytest.fixture
def world(clock: ManualClock) -> Iterator[World]:
    made = World(model_repo(SETTINGS, clock), clock)

    def ended(settings: Settings, job: Job, came_to: str, **details: Any) -> None:
        assert settings is made.repo.settings
        made.spans.append((came_to, details))

    with (
        patch.object(traces, "ended", ended),
        patch.object(leaving, "publish_if_due", lambda app, job: made.sent.append(job)),
    ):
        yield made


# --- deciding
def raised(error: BaseException, *, during: BaseException | None = None) -> Any:
    """Give an exception as it leaves a body."""
    try:
        try:
            if during is not None:
                raise during
        finally:
            raise error
    except BaseException as left:  # noqa: BLE001 - raised above
        return left


def test_what_a_body_raises_decides_how_its_attempt_ends() -> None:
    cancelled, out = JobCancelled("stop"), SystemExit(1)
    opened = BreakerOpen(Breaker(name="mail"), 77)
    rows: list[tuple[BaseException, End]] = [
        (Retry(exc=BROKEN, when=5), End(Move.RETRY, BROKEN, when=5)),
        (Retry(), End(Move.RETRY, None)),
        (opened, End(Move.RELEASE, "breaker 'mail' is open", 77, Held.BREAKER)),
        (Reject("no", requeue=True), End(Move.RELEASE, "its task rejected the message", held=Held.REQUEUE)),
        (Reject(BROKEN), End(Move.FAIL, BROKEN)),
        (cancelled, End(Move.STOP, cancelled)),
        (out, End(Move.FAIL, out)),
        (BROKEN, End(Move.FAIL, BROKEN)),
        (Ignore("not today"), End(Move.STOP, "its task raised Ignore: not today")),
        (Ignore(), End(Move.STOP, "its task raised Ignore")),
    ]
    assert [(left, end_of(left)) for left, _ in rows] == rows
    assert end_of(Ignore("x"), ("SUCCESS", {"rows": 1})) == End(Move.COMPLETE, {"rows": 1})
    assert end_of(Ignore("x"), ("PROGRESS", 1)).move is Move.STOP
    assert end_of(Ignore("x"), ("FAILURE", BROKEN)) == End(Move.FAIL, BROKEN)
    assert end_of(BROKEN, ("SUCCESS", 1)) == End(Move.FAIL, BROKEN), "what it raised counts"


@pytest.mark.parametrize(("reason", "text"), [("sold out", "sold out"), (None, "")])
def test_a_message_that_was_rejected_for_a_text_fails_its_job_with_that_text(reason: str | None, text: str) -> None:
    left = Reject(reason)
    assert end_of(left) == End(Move.FAIL, left)
    assert " ".join(map(str, left.args)) == text


def test_an_error_that_was_never_raised_gets_the_traceback_of_what_left_the_body() -> None:
    never, before = ValueError("x"), raised(ValueError("y"))
    own = before.__traceback__
    left = raised(Reject(never))
    assert end_of(left).value.__traceback__ is left.__traceback__ is not None
    assert end_of(raised(Reject(before))).value.__traceback__ is own


@pytest.mark.parametrize(
    ("meta", "failure"),
    [
        ({"exc_type": "Out", "exc_message": ["sold", "out"], "exc_module": "shop"}, ("shop.Out", "sold\nout")),
        ({"exc_type": "Out", "exc_message": ("sold",), "exc_module": "builtins"}, ("Out", "sold")),
        ({"exc_type": "Out"}, ("Out", "{'exc_type': 'Out'}")),
        ({"exc_module": "shop", "exc_message": "x"}, ("", "x")),
        ("sold out", ("", "sold out")),
        (None, ("", "None")),
    ],
)
def test_a_failure_that_a_body_reports_is_made_of_its_words(meta: Any, failure: tuple[str, str]) -> None:
    exception, message = failure
    assert reported_failure(meta, Ignore()) == Failure(kind=FailureKind.PERMANENT, exception=exception, message=message)


def test_a_failure_that_a_body_reports_while_it_handles_an_error_is_that_error_if_it_is_named_or_none_is() -> None:
    left, caused = raised(Ignore(), during=BROKEN), Ignore()
    caused.__cause__ = BROKEN
    for meta in ({"exc_type": "ValueError"}, {"sku": 4}, "sold out", None):
        assert reported_failure(meta, left) is reported_failure(meta, caused) is BROKEN
    assert isinstance(reported_failure({"exc_type": "KeyError"}, left), Failure)
    assert reported_failure(KeyError("x"), left).args == ("x",)  # type: ignore[union-attr]

    class Inner(Exception):
        """One whose qualified name is longer than its name."""

    inner = Inner()
    assert reported_failure({"exc_type": Inner.__qualname__}, raised(Ignore(), during=inner)) is inner
    assert reported_failure({"exc_type": "Inner"}, raised(Ignore(), during=inner)) is inner


# --- recording
@pytest.mark.parametrize(
    ("end", "status", "spans"),
    [
        (End(Move.COMPLETE, {"rows": 1}), "COMPLETED", ("completed", "", "")),
        (End(Move.COMPLETE, object()), "FAILED", ("failed", "PERMANENT", "InvalidPayload")),
        (End(Move.FAIL, BROKEN), "FAILED", ("failed", "PERMANENT", "ValueError")),
        (End(Move.STOP, "enough"), "CANCELLED", ("cancelled", "CANCELLED", "")),
    ],
)
def test_an_end_is_recorded_with_its_spans(world: World, end: End, status: str, spans: tuple[str, str, str]) -> None:
    claim = world.claimed()
    after = record(APP, world.repo, claim, end)
    assert after == world.job()
    assert (world.job().status, world.sent) == (JobStatus(status), [])
    [(came_to, details)] = world.spans
    assert details["at"] == world.clock()
    assert (came_to, details["kind"], details["exception"].rpartition(".")[2]) == spans


def test_a_release_is_uncharged_says_why_and_is_sent_when_it_is_due(world: World) -> None:
    claim, due = world.claimed(), world.clock() + 60_000
    after = record(APP, world.repo, claim, End(Move.RELEASE, "later", due, Held.BREAKER))
    job = world.job()
    assert (after, world.sent) == (job, [job])
    assert (job.status, job.charged, job.available_at) == (JobStatus.PENDING, 0, due)
    assert (job.released.held, job.released.reason) == (Held.BREAKER, "later")  # type: ignore[union-attr]
    assert world.spans == [("release", {"at": world.clock()})]


ETA = datetime(2096, 10, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "due"), [(None, None), (5, 5_000), (2.5, 2_500), (ETA, round(ETA.timestamp() * 1000))]
)
def test_a_retry_starts_when_its_body_said(world: World, when: Any, due: int | None) -> None:
    claim = world.claimed(max_attempts=2)
    error = CallDoesNotFit("x") if when == 5 else BROKEN
    assert record(APP, world.repo, claim, End(Move.RETRY, error, when=when)) == world.job()
    job = world.job()
    expected = due if isinstance(when, datetime) else world.clock() + (due or 0)
    assert (job.status, job.charged, job.available_at, world.sent) == (JobStatus.PENDING, 1, expected, [job])
    failure = job.history[-1].failure
    assert failure is not None
    assert failure.kind == (FailureKind.CONFIGURATION if when == 5 else FailureKind.PERMANENT)
    assert world.spans == [("retry", {"at": world.clock()})]


@pytest.mark.parametrize("ending", [False, True])
def test_a_process_that_is_being_ended_says_so(monkeypatch: pytest.MonkeyPatch, ending: bool) -> None:
    monkeypatch.setattr(common, "_should_have_exited", [ending])
    assert leaving.process_is_ending() is ending


def test_a_retry_without_an_error_and_one_at_no_time(world: World) -> None:
    claim = world.claimed(max_attempts=3)
    with patch.object(world.repo, "reschedule", wraps=world.repo.reschedule) as reschedule:
        assert record(APP, world.repo, claim, End(Move.RETRY)) is not None
    assert (reschedule.call_args.kwargs["error"], reschedule.call_args.kwargs["kind"]) == (None, None)
    again = world.repo.claim_job("j")
    assert again is not None
    record(APP, world.repo, again, End(Move.RETRY, when=timedelta(1)))
    failure = world.job().failure
    assert failure is not None
    assert (world.job().status, failure.exception.rpartition(".")[2]) == (JobStatus.FAILED, "InvalidInput")


@pytest.mark.parametrize("error", [BROKEN, None])
def test_a_retry_after_the_last_attempt_fails_the_job(world: World, error: Exception | None) -> None:
    claim = world.claimed(max_attempts=1)
    record(APP, world.repo, claim, End(Move.RETRY, error, when=5))
    failure = world.job().failure
    assert failure is not None
    name = "ValueError" if error else MaxRetriesExceededError.__name__
    assert (world.job().status, failure.exception.rpartition(".")[2]) == (JobStatus.FAILED, name)


@pytest.mark.parametrize(
    "end", [End(move, BROKEN) for move in (Move.FAIL, Move.STOP, Move.RETRY)] + [End(Move.RELEASE, "x")]
)
def test_an_end_whose_claim_is_over_or_that_cannot_be_written_is_logged_and_nothing_follows(
    world: World, end: End
) -> None:
    claim = world.claimed(max_attempts=2)
    with patch.object(world.repo.table, "apply", side_effect=StoreUnavailable("away")), capture_logs() as lines:
        assert record(APP, world.repo, claim, end) is None
    assert [line["reason"] for line in lines] == ["away"]
    world.clock.advance(claim.lease_ms / 1000 + 1)
    other = JobRepo(world.repo.table.client(), settings=SETTINGS, clock=world.clock, sleep=world.clock.advance)
    other.update_status("j", "CANCELLED", token=claim.claim_token)
    with capture_logs() as lines:
        assert record(APP, world.repo, claim, end) is None
    assert [line["event"] for line in lines][-1] in ("claim.lost", "job.release_refused")
    assert (world.sent, world.spans) == ([], [])
