"""Where claims and retries draw their lines: one side is taken, the other refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from structlog.testing import capture_logs

from jobclaim.jobs import (
    IdempotencyMismatch,
    IllegalTransition,
    InvalidInput,
    InvalidPayload,
    Job,
    JobRepo,
    JobStatus,
    StoreUnavailable,
)
from jobclaim.jobs.encoding.schema import LARGE_MARK
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.repo import delivery, rescue
from jobclaim.jobs.repo.claiming import EARLY_MS, early
from jobclaim.jobs.storage.resilience import FIRST_WAIT_SECONDS, TRIES, is_transient, persistently
from jobclaim.jobs.transitions import Move
from jobclaim.settings import Settings
from tests.contract.stores import LossyClient
from tests.simulation.actors.worker import PlainDelivery
from tests.simulation.client import ModelClient, model_repo
from tests.simulation.queues import Message
from tests.support.clock import ManualClock
from tests.support.recovery import failing

NOW = 4_000_000_000_000
JOB = Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING, available_at=NOW + EARLY_MS)
SILENCE = ReadTimeoutError(endpoint_url="http://dynamodb")
SETTINGS = Settings(_env_file=None)


@pytest.fixture
def repo(clock: ManualClock) -> JobRepo:
    return model_repo(SETTINGS, clock)


def test_a_job_is_early_beyond_what_clocks_may_differ_by_and_while_it_waits() -> None:
    later = replace(JOB, available_at=JOB.available_at + 1)

    assert [early(JOB, NOW), early(later, NOW)] == [False, True]
    assert not early(replace(later, status=JobStatus.PROCESSING), NOW)


def test_a_refused_claim_is_told_of_and_one_that_was_made_is_not(repo: JobRepo) -> None:
    told: list[Job] = []
    job = repo.create_job("t", job_id="j")

    assert repo.claim_job(job.job_id, refused=told.append) is not None
    assert told == []
    assert repo.claim_job(job.job_id, refused=told.append) is None
    assert [one.status for one in told] == [JobStatus.PROCESSING]


def test_a_job_that_is_due_later_may_be_claimed_by_who_does_not_ask_when_it_is_due(
    repo: JobRepo, clock: ManualClock
) -> None:
    job = repo.create_job("t", job_id="j", available_at=clock() + EARLY_MS + 1_000)

    assert repo.claim_job(job.job_id, when_due=True) is None
    assert repo.claim_job(job.job_id, when_due=False) is not None


@pytest.mark.parametrize("name", ["", "sleep/me", 5])
def test_a_wait_has_a_name(repo: JobRepo, name: str) -> None:
    job = repo.create_job("t", job_id="j")
    claim = repo.claim_job(job.job_id)
    assert claim is not None

    for ask in (repo.running("j").wait_token, lambda given: repo.running("j").wait(given, timeout=1)):
        with pytest.raises(InvalidInput):
            ask(name)
    with pytest.raises(InvalidInput):
        repo.resume("j", name)


# --- requests that are made again
def test_an_error_of_the_server_passes() -> None:
    error = ClientError({"Error": {"Code": "Strange"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "GetItem")  # type: ignore[typeddict-item]

    assert is_transient(error)


class Waits:
    """A request that fails so many times, and the waits before each further try."""

    def __init__(self, clock: ManualClock, failures: int) -> None:
        self.clock, self.left, self.slept = clock, failures, list[float]()

    def request(self) -> str:
        if self.left:
            self.left -= 1
            raise SILENCE
        return "answer"

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)


def test_the_first_waits_are_short_and_are_waited_by_whom_the_caller_names(clock: ManualClock) -> None:
    for _ in range(20):
        waits = Waits(clock, TRIES - 1)
        assert persistently(waits.request, clock=clock, sleep=waits.sleep) == "answer"
        assert len(waits.slept) == TRIES - 1
        assert waits.slept[0] <= FIRST_WAIT_SECONDS


def test_a_write_that_ends_an_attempt_is_tried_until_its_lease_ends_and_no_wait_goes_past_it(
    clock: ManualClock,
) -> None:
    many, until = Waits(clock, 30), clock() + 600_000
    assert persistently(many.request, clock=clock, until=until, sleep=many.sleep) == "answer"
    assert (len(many.slept), clock() <= until) == (30, True)

    short, until = Waits(clock, 1), clock() + 1
    assert persistently(short.request, clock=clock, until=until, sleep=short.sleep) == "answer"
    assert clock() <= until


# --- what is refused, and what is said of it
@pytest.mark.parametrize(
    ("asked", "event"),
    [
        ({"when_due": True}, "claim.too_early"),
        ({"when_due": True, "attempt": 0}, "claim.too_early"),
        ({"attempt": 5}, "claim.refused"),
        ({"attempt": 5, "when_due": True, "due_in_ms": 0}, "claim.refused"),
    ],
)
def test_a_refusal_names_its_cause(repo: JobRepo, clock: ManualClock, asked: dict[str, int], event: str) -> None:
    asked = dict(asked)
    repo.create_job("t", job_id="j", available_at=clock() + asked.pop("due_in_ms", EARLY_MS + 1_000))
    with capture_logs() as logs:
        assert repo.claim_job("j", **asked) is None  # type: ignore[arg-type]

    assert [line["event"] for line in logs] == [event]


def test_an_equal_id_with_another_payload_is_refused_unless_the_caller_says_that_it_may_differ(repo: JobRepo) -> None:
    first = repo.create_job("t", {"n": 1}, job_id="j")
    assert repo.create_job("t", {"n": 1}, job_id="j").submission == first.submission

    with pytest.raises(IdempotencyMismatch):
        repo.create_job("t", {"n": 2}, job_id="j")
    assert repo.create_job("t", {"n": 2}, job_id="j", must_match=False).payload == {"n": 1}


def test_a_checkpoint_that_looks_like_a_mark_is_refused_where_it_is_given(repo: JobRepo) -> None:
    """With a bucket nothing else is checked before the checkpoint is written, which may be much later."""
    owner = JobRepo(repo.table.client(), settings=Settings(_env_file=None, bucket="large"), clock=repo.clock)
    assert owner.claim_job(owner.create_job("t", job_id="j").job_id) is not None
    owner.progress("j", 1)

    with pytest.raises(InvalidPayload, match="checkpoint is a map whose only key"):
        owner.progress("j", 2, checkpoint={LARGE_MARK: {"key": "x", "bytes": 1}})


def test_a_resume_names_a_job(repo: JobRepo) -> None:
    with pytest.raises(InvalidInput, match="job_id"):
        repo.resume("", "go")


class Unanswered:
    """A client whose first update is made, and not answered."""

    def __init__(self, client: ModelClient) -> None:
        self._client, self._left = client, 1

    def __getattr__(self, operation: str) -> Any:
        ask = getattr(self._client, operation)

        def asked(**request: Any) -> Any:
            answer = ask(**request)
            if operation == "update_item" and self._left:
                self._left = 0
                raise SILENCE
            return answer

        return asked


def without_an_answer(repo: JobRepo, clock: ManualClock) -> tuple[JobRepo, LossyClient]:
    """A program whose claim of `j` had no answer, beside another job, and its line."""
    for job_id in ("j", "other"):
        repo.create_job("t", job_id=job_id)
    line = LossyClient(repo.table.client(), times=TRIES)
    program = JobRepo(line, settings=SETTINGS, clock=clock, sleep=clock.advance)
    with pytest.raises(StoreUnavailable):
        program.claim_job("j")
    return program, line


def test_a_claim_without_an_answer_is_looked_for_by_a_consistent_read(
    repo: JobRepo, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older view would show the job unclaimed, and the claim would be forgotten until its lease ends."""
    program, _ = without_an_answer(repo, clock)
    asked: list[bool] = []
    read = program.table.get_many

    def noted(job_ids: list[str], *, consistent: bool = False) -> dict[str, Job]:
        asked.append(consistent)
        return read(job_ids, consistent=consistent)

    monkeypatch.setattr(program.table, "get_many", noted)

    assert program.claim_job("other") is not None

    assert (asked, repo.get_job("j").status) == ([True], JobStatus.PENDING)


def test_a_claim_without_an_answer_that_has_ended_since_is_no_longer_looked_after(
    repo: JobRepo, clock: ManualClock
) -> None:
    program, line = without_an_answer(repo, clock)
    repo.update_status("j", "COMPLETED", token=repo.get_job("j").claim_token)
    line.writes = 0

    assert program.claim_job("other") is not None
    assert line.writes == 1


def test_a_job_that_its_caller_has_read_is_cancelled_without_another_read(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = repo.create_job("t", job_id="j")
    monkeypatch.setattr(repo, "get_job", None)

    assert repo.cancel_job("j", read=job).status is JobStatus.CANCELLED


def test_a_person_is_told_that_the_job_to_cancel_is_gone(repo: JobRepo) -> None:
    job = repo.create_job("t", job_id="j")
    repo.table.client().delete_item(TableName=SETTINGS.job_table, Key={"job_id": {"S": "j"}})

    with pytest.raises(IllegalTransition, match="it no longer exists"):
        repo.cancel_job("j", read=job)


def test_a_job_whose_payload_cannot_be_read_can_be_retried(repo: JobRepo, clock: ManualClock) -> None:
    repo.create_job("t", "x" * (SETTINGS.inline_payload_bytes + 1), job_id="j")
    repo.claim_job("j")
    repo.update_status("j", "FAILED", error="no")
    blind = failing(repo.table.client(), "get_item", lambda asked: asked["Key"]["job_id"]["S"] != "j")

    retried = JobRepo(blind, settings=SETTINGS, clock=clock, sleep=clock.advance).retry_job("j")

    assert retried.status is JobStatus.PENDING


def test_a_message_that_was_counted_without_an_answer_is_counted_once(repo: JobRepo, clock: ManualClock) -> None:
    job = repo.create_job("t", job_id="j")
    other = JobRepo(Unanswered(repo.table.client()), settings=SETTINGS, clock=clock, sleep=clock.advance)

    counted = rescue.dispatch(other, job)

    assert counted is not None
    assert (counted.dispatches, repo.get_job("j").dispatches) == (2, 2)


def test_a_job_that_is_written_beside_a_completion_is_there(repo: JobRepo) -> None:
    repo.create_job("t", job_id="j")
    claim = repo.claim_job("j")
    assert claim is not None
    beside = Job(job_id="next", task="t", queue="default", status=JobStatus.PENDING, submission="s", lease_ms=1)

    done = lifecycle.completed(claim, None, repo.clock(), repo.retention)
    assert repo.table.apply(claim, Move.COMPLETE_WITH_EFFECTS, done, beside=[beside]).applied

    assert repo.get_job("next").status is JobStatus.PENDING


@pytest.mark.parametrize(("named", "due_in_ms"), [(5, 0), (0, EARLY_MS + 1_000)])
def test_in_a_plain_tasks_body_its_message_says_which_attempt_and_the_job_says_when(
    repo: JobRepo, clock: ManualClock, named: int, due_in_ms: int
) -> None:
    repo.create_job("t", job_id="j", available_at=clock() + due_in_ms)
    delivery.enter(PlainDelivery("w", Message("j", named, 0, "t")))
    try:
        assert repo.claim_job("j") is None
        assert repo.claim_job("j", attempt=0, when_due=False) is not None
    finally:
        delivery.enter(delivery.NOWHERE)


def test_the_end_of_a_claim_knows_the_steps_that_were_recorded_under_it(repo: JobRepo) -> None:
    repo.create_job("t", job_id="j")
    repo.claim_job("j")
    repo.running("j").step("one", lambda: 1)

    assert [step.name for step in repo.update_status("j", "COMPLETED").steps] == ["one"]
