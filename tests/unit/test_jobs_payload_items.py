"""Payload items: how long one lasts, when it is extended, and what is done when it cannot be read or written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from jobclaim.jobs import Job, JobStatus, OffloadLost, StoreUnavailable
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute, stored_value
from jobclaim.jobs.encoding.marks import digest, table_mark
from jobclaim.jobs.storage.payload_items import DAY_MS, PayloadItems
from jobclaim.jobs.storage.resilience import TRIES
from tests.simulation.client import ModelClient
from tests.support.clock import START_MS, ManualClock

TEXT = json.dumps({"text": "é" * 100}, ensure_ascii=False)
NAME = f"j\x1f{digest(TEXT)}"
KEY = {"job_id": attribute(f"payload\x1f{NAME}")}
START, DAY = START_MS // 1000, DAY_MS // 1000
JOB = Job(job_id="j", task="t", queue="q", status=JobStatus.PENDING)


class Line:
    """A client that records what it is asked, and is away for some requests."""

    def __init__(self, clock: ManualClock) -> None:
        self.model = ModelClient(clock)
        self.model.make_tables("jobs", "fleet")
        self.away = 0
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def ask(**request: Any) -> Any:
            self.asked.append((operation, request))
            if self.away:
                self.away -= 1
                raise EndpointConnectionError(endpoint_url="http://dynamodb")
            return getattr(self.model, operation)(**request)

        return ask

    @property
    def stored(self) -> Any:
        return self.model.get_item(TableName="jobs", Key=KEY, ConsistentRead=True).get("Item")


@pytest.fixture
def line(clock: ManualClock) -> Line:
    return Line(clock)


@pytest.fixture
def waits() -> list[float]:
    """How long was waited between tries."""
    return []


@pytest.fixture
def items(line: Line, clock: ManualClock, waits: list[float]) -> PayloadItems:
    return PayloadItems(lambda: line, "jobs", clock=clock, sleep=waits.append)


def marked(until: int, **fields: Any) -> Job:
    """Give a job whose payload has an item until then, in epoch seconds."""
    return replace(JOB, **{"payload": table_mark(NAME, len(TEXT.encode()), until), **fields})


# --- writing and reading
@pytest.mark.parametrize(
    ("due_in", "kept", "lasts"),
    [(0, 0, 15), (3, 0, 18), (-3, 0, 15), (0, 13.5, 15), (0, 14, 15), (0, 14.5, 15.5), (3, 20, 24)],
)
def test_it_lasts_from_the_due_time_for_fifteen_days_or_a_day_longer_than_its_job_is_kept(
    items: PayloadItems, line: Line, due_in: int, kept: float, lasts: float
) -> None:
    job = replace(JOB, available_at=START_MS + due_in * DAY_MS)
    mark = items.put(job, TEXT, kept_ms=round(kept * DAY_MS))
    ends_at = round(START + lasts * DAY)
    assert mark == table_mark(NAME, len(TEXT.encode()), ends_at)
    assert line.stored == {**KEY, "text": attribute(TEXT), schema.TTL: attribute(ends_at)}
    assert items.get(mark) == json.loads(TEXT)


def test_writing_it_again_never_shortens_its_life(items: PayloadItems, line: Line) -> None:
    later = items.put(JOB, TEXT, kept_ms=30 * DAY_MS)
    items.put(JOB, TEXT)
    assert line.stored[schema.TTL] == attribute(START + 31 * DAY)
    assert items.get(later) == json.loads(TEXT)


def test_it_is_read_consistently(items: PayloadItems, line: Line) -> None:
    mark = items.put(JOB, TEXT)
    line.asked.clear()
    items.get(mark)
    assert line.asked == [("get_item", {"TableName": "jobs", "Key": KEY, "ConsistentRead": True})]


@pytest.mark.parametrize(
    ("text", "said"), [(None, "of job 'j' no longer exists in table 'jobs'"), ('"other"', "its hash differs")]
)
def test_one_that_is_missing_or_was_changed_is_lost(
    items: PayloadItems, line: Line, text: str | None, said: str
) -> None:
    if text is not None:
        line.model.put_item(TableName="jobs", Item={**KEY, "text": attribute(text)})
    with pytest.raises(OffloadLost, match=said):
        items.get(table_mark(NAME, len(TEXT), START))


@pytest.mark.parametrize("until", [None, START_MS + 3_600_000])
def test_a_request_is_tried_again_and_until_a_lease_ends_where_there_is_one(
    items: PayloadItems, line: Line, waits: list[float], until: int | None
) -> None:
    line.away = TRIES - 1
    assert items.put(JOB, TEXT, until=until)
    assert len(waits) == TRIES - 1
    line.away = TRIES + 5
    if until is None:
        with pytest.raises(StoreUnavailable):
            items.put(JOB, TEXT)
    else:
        assert items.put(JOB, TEXT, until=until)
    line.away = TRIES + 5
    soon = marked(START + DAY)
    if until is None:
        with pytest.raises(StoreUnavailable):
            items.outlasting(soon, soon)
    else:
        assert items.outlasting(soon, soon, until=until) is not soon


# --- extending it
@pytest.mark.parametrize(
    ("job", "soon"),
    [
        (JOB, False),
        (marked(START + 7 * DAY - 1), True),
        (marked(START + 7 * DAY), False),
        (replace(JOB, payload=[1], payload_mark=table_mark(NAME, 1, START)), True),
    ],
)
def test_one_ends_soon_that_ends_within_a_week(items: PayloadItems, job: Job, soon: bool) -> None:
    assert items.ends_soon(job) is soon


ENDED = {"status": JobStatus.COMPLETED, "expires_at": START + 90 * DAY}


@pytest.mark.parametrize(
    ("until", "after", "extended"),
    [
        (7 * DAY - 1, {}, 15 * DAY),
        (7 * DAY, {}, None),
        (10 * DAY - 1, {"available_at": START_MS + 3 * DAY_MS}, 18 * DAY),
        (10 * DAY, {"available_at": START_MS + 3 * DAY_MS}, None),
        (7 * DAY, {"available_at": START_MS - 3 * DAY_MS}, None),
        (90 * DAY - 1, ENDED, 91 * DAY),
        (90 * DAY, ENDED, None),
    ],
)
@pytest.mark.parametrize("was_read", [True, False])
def test_a_write_of_the_job_extends_one_that_ends_too_soon_for_it(
    items: PayloadItems,
    line: Line,
    until: int,
    after: dict[str, Any],
    extended: int | None,
    was_read: bool,
) -> None:
    line.model.put_item(TableName="jobs", Item={**KEY, schema.TTL: attribute(START + until)})
    before = marked(START + until)
    if was_read:
        before = replace(before, payload=json.loads(TEXT), payload_mark=before.payload)
    job = replace(before, **after)

    found = items.outlasting(before, job)

    if extended is None:
        assert (found is job, line.asked) == (True, [])
        return
    longer = table_mark(NAME, len(TEXT.encode()), START + extended)
    assert found == (job if was_read else replace(job, payload=longer))
    assert stored_value(found, "payload") == longer
    assert line.stored == {**KEY, schema.TTL: attribute(START + extended)}
    assert len(line.asked) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [(JOB, JOB), (marked(START), JOB), (JOB, marked(START)), (marked(START - DAY), marked(START))],
)
def test_a_payload_inside_or_one_that_was_just_written_is_left_alone(
    items: PayloadItems, line: Line, before: Job, after: Job
) -> None:
    assert items.outlasting(before, after) is after
    assert line.asked == []


@pytest.mark.parametrize("stored", [None, START + 40 * DAY])
def test_one_that_is_gone_or_lasts_longer_already_is_not_written(
    items: PayloadItems, line: Line, caplog: pytest.LogCaptureFixture, stored: int | None
) -> None:
    if stored:
        line.model.put_item(TableName="jobs", Item={**KEY, schema.TTL: attribute(stored)})
    job = marked(START)
    found = items.outlasting(job, job)
    assert found == marked(START + 15 * DAY)
    assert line.stored == ({**KEY, schema.TTL: attribute(stored)} if stored else None)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["payload.extension_refused"]
