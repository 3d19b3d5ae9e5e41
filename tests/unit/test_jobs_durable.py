"""Which calls of a step are one, how reports are merged, whose token a token is, and which results are typed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any

import pytest
from pydantic import BaseModel

from jobclaim.jobs import InvalidInput, Job, JobStatus, PayloadTooLarge
from jobclaim.jobs.durable import calls, tokens, typed
from jobclaim.jobs.durable.reports import MAX_META, MAX_STATE, Reports
from jobclaim.jobs.kept import PROGRESS, Progress, Step, Wait

JOB = Job(job_id="j", task="t", queue="q", status=JobStatus.PROCESSING, attempt=3)


# --- calls
class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int


class Order(BaseModel):
    number: int


class Callback:
    def __call__(self) -> None:
        """Do nothing."""


def hashed(*args: Any, **kwargs: Any) -> str:
    return calls.hash_of(len, args, kwargs)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (len, "builtins.len"),
        (partial(partial(len)), "builtins.len"),
        (str.upper, "builtins.str.upper"),  # has no module
        (Callback(), f"{__name__}.Callback"),
        (hashed, f"{__name__}.hashed"),
    ],
)
def test_a_step_is_named_by_the_function_that_is_called(function: Any, name: str) -> None:
    assert calls.name_of(function) == name


@pytest.mark.parametrize(
    ("one", "other"), [(Colour.RED, "red"), (Point(1), {"x": 1}), (Order(number=1), {"number": 1}), ((1, 2), [1, 2])]
)
def test_arguments_with_one_json_are_one(one: Any, other: Any) -> None:
    assert hashed(one) == hashed(other)
    assert hashed([{"in": one}]) == hashed([{"in": other}])


def test_arguments_that_differ_are_others_down_to_the_types_of_what_json_cannot_carry() -> None:
    aliens: list[Any] = [{1}, frozenset(), {"a": {1}}, {"b": {1}}, [{1}], [{1}, {1}], Point, Order, 1j]
    known: list[Any] = [Colour.BLUE, Colour.RED, Point(1), Point(2), Order(number=1), Order(number=2), None]

    assert len({hashed(value) for value in (*aliens, *known)}) == len(aliens) + len(known)
    assert hashed({1}) == hashed({2})


# --- reports
def reports() -> Reports:
    return Reports(JOB, seconds=5)


@pytest.mark.parametrize("told", [{"done": 0}, {"total": 9}, {"message": "m"}, {"done": 1, "total": 9, "message": "m"}])
@pytest.mark.parametrize("checkpoint", [..., None, [1]])
def test_any_part_of_a_report_is_one_and_a_checkpoint_goes_beside_it(told: dict[str, Any], checkpoint: Any) -> None:
    kept = reports()
    kept.tell(**{"done": None, "total": None, "message": "", **told}, checkpoint=checkpoint, now=7)

    first = {"first_done": told["done"], "first_at": 7} if "done" in told else {}
    assert kept.progress == Progress(**told, attempt=3, at=7, **first)
    assert kept.checkpoint == checkpoint


def test_a_checkpoint_alone_is_no_progress_and_nothing_at_all_is_refused() -> None:
    kept = reports()
    kept.tell(None, None, "", {"row": 1}, 7)
    assert (kept.progress, kept.checkpoint) == (None, {"row": 1})

    with pytest.raises(InvalidInput, match="without a value"):
        kept.tell(None, None, "", ..., 7)


def test_a_rate_begins_with_the_first_report_that_has_a_number() -> None:
    kept = reports()
    for at, done in enumerate([None, 5, 6]):
        kept.tell(done, None, "m", ..., 10 + at)

    assert kept.progress == Progress(done=6, message="m", attempt=3, at=12, first_done=5, first_at=11)


@pytest.mark.parametrize("told", [{"done": 1, "checkpoint": ...}, {"done": None, "checkpoint": None}])
def test_what_was_written_is_not_written_again(told: dict[str, Any]) -> None:
    kept = reports()
    kept.written(5)
    assert kept.written_at is None, "there was nothing to write"

    kept.tell(total=None, message="", now=5, **told)
    kept.written(6)
    again: list[Any] = [kept.progress, kept.checkpoint, kept.written_at]
    assert again == [None, ..., 6]


@pytest.mark.parametrize(
    ("meta", "done", "total"),
    [({"current": 1, "total": 2}, 1, 2), ({"done": 1}, 1, None), ({"done": "1"}, None, None), ([1], None, None)],
)
def test_celerys_state_is_kept_with_the_numbers_that_its_data_name(meta: Any, done: Any, total: Any) -> None:
    kept = reports()
    for state in ("S", "S" * MAX_STATE):
        kept.tell_state(state, meta, 7)
        assert kept.progress is not None
        assert (kept.progress.state, kept.progress.meta) == (state, meta)
        assert (kept.progress.done, kept.progress.total) == (done, total)


@pytest.mark.parametrize("state", ["", "S" * (MAX_STATE + 1), 5, ["S"]])
def test_a_state_that_is_no_short_text_is_refused(state: Any) -> None:
    with pytest.raises(InvalidInput, match="state="):
        reports().tell_state(state, None, 7)


def test_celerys_data_have_a_limit() -> None:
    kept = reports()
    kept.tell_state(PROGRESS, "x" * (MAX_META - 2), 7)
    with pytest.raises(PayloadTooLarge, match="meta takes"):
        kept.tell_state(PROGRESS, "x" * (MAX_META - 1), 7)


# --- tokens
def test_a_token_is_of_one_wait_of_one_run_and_a_job_that_issued_none_takes_none() -> None:
    secret = tokens.new_secret()
    job, token = replace(JOB, wait_secret=secret), tokens.token_of("j", "go", secret)

    assert tokens.is_token_of(job, "go", token)
    assert not tokens.is_token_of(job, "stop", token)
    assert not tokens.is_token_of(JOB, "go", token)
    assert not tokens.is_token_of(JOB, "go", tokens.token_of("j", "go", ""))


# --- typed results
def plain(value: Any):  # type: ignore[no-untyped-def]
    return value


def numbered(value: Any) -> int:
    return int(value)


def ordered(value: Any) -> list[Order]:
    return [value]


@pytest.mark.parametrize(
    ("function", "value", "stored", "read"),
    [
        (plain, Order(number=1), {"number": 1}, {"number": 1}),
        (plain, [1], [1], [1]),
        (numbered, "5", "5", "5"),  # no model: whatever JSON has
        (ordered, [Order(number=1)], [{"number": 1}], [Order(number=1)]),
    ],
)
def test_a_result_is_read_back_as_the_annotation_says_where_that_has_a_model(
    function: Callable[..., Any], value: Any, stored: Any, read: Any
) -> None:
    assert typed.to_json(value, function) == stored
    assert typed.from_json(stored, partial(function)) == read


# --- what progress and a job say of themselves
@pytest.mark.parametrize(
    ("progress", "share", "rate", "left"),
    [
        (Progress(), None, None, None),
        (Progress(done=1), None, None, None),
        (Progress(total=4), None, None, None),
        (Progress(done=1, total=0), None, None, None),
        (Progress(done=1, total=-4), None, None, None),
        (Progress(done=1, total=4), 0.25, None, None),
        (Progress(done=1, total=1), 1.0, None, None),
        (Progress(done=5, total=4), 1.0, None, None),
        (Progress(done=-1, total=4), 0.0, None, None),
        (Progress(done=5, total=9, first_done=1, first_at=1_000, at=3_000), 5 / 9, 2.0, 1.5),
        (Progress(done=5, first_done=1, first_at=1_000, at=3_000), None, 2.0, None),
        (Progress(done=9, total=9, first_done=1, first_at=1_000, at=3_000), 1.0, 4.0, 0.0),
        (Progress(done=5, total=9, first_done=5, first_at=1_000, at=3_000), 5 / 9, None, None),
        (Progress(done=5, total=9, first_done=1, first_at=3_000, at=3_000), 5 / 9, None, None),
        (Progress(total=9, first_done=1, first_at=1_000, at=3_000), None, None, None),
        (Progress(done=5, total=9, first_at=1_000, at=3_000), 5 / 9, None, None),
    ],
)
def test_progress_has_a_share_a_rate_and_time_left_as_far_as_they_are_known(
    progress: Progress, share: float | None, rate: float | None, left: float | None
) -> None:
    assert (progress.share, progress.rate, progress.seconds_left(3_500)) == (share, rate, left)


def test_time_left_is_counted_from_the_report_whichever_clock_is_ahead() -> None:
    progress = Progress(done=5, total=9, first_done=1, first_at=1_000, at=3_000)

    assert [progress.seconds_left(now) for now in (2_000, 3_000, 4_000, 99_000)] == [2.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("values", "wait"),
    [
        ({"claimed_at": 0, "available_at": 0}, 0),
        ({"claimed_at": 50, "available_at": 20}, 30),
        ({"claimed_at": 20, "available_at": 50}, 0),
        ({"claimed_at": 0, "available_at": -20}, 0),
    ],
)
def test_a_jobs_wait_is_from_its_due_time_to_its_claim(values: dict[str, Any], wait: int) -> None:
    assert replace(JOB, **values).wait_ms == wait


def test_a_job_names_its_waits_steps_and_the_progress_of_its_attempt() -> None:
    go, stop = Wait(name="go"), Wait(name="stop")
    one, two = (Step(name=name, function="f", arguments="a") for name in ("one", "two"))
    job = replace(JOB, waits=(go, stop), steps=(one, two), waits_for="stop", max_attempts=3, charged=1)

    assert (job.wait_named("go"), job.wait_named("stop"), job.wait_named("other")) == (go, stop, None)
    assert (job.step_named("one"), job.step_named("two"), job.step_named("other")) == (one, two, None)
    assert (job.waiting, replace(job, status=JobStatus.PENDING).waiting) == (None, stop)
    assert replace(job, status=JobStatus.PENDING, waits=(Wait(name=""),), waits_for="").waiting is None
    assert [replace(job, charged=charged).attempts_left for charged in (0, 1, 3, 4)] == [3, 2, 0, 0]
    assert job.log_context() == {"job_id": "j", "task": "t", "queue": "q", "attempt": 3}
    assert [status for status in JobStatus if status.is_open] == [JobStatus.PENDING, JobStatus.PROCESSING]


def test_only_the_report_of_the_running_attempt_is_told() -> None:
    current, older = Progress(done=1, attempt=3), Progress(done=1, attempt=2)
    told = [replace(JOB, progress=progress).told for progress in (current, older, None)]

    assert told == [current, None, None]
    assert replace(JOB, status=JobStatus.PENDING, progress=current).told is None
