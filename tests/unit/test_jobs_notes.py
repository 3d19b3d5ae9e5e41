"""Notes in the job table: read until they end, replaced, seized by one owner, and deleted."""

from __future__ import annotations

from typing import Any

import pytest

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.storage.notes import Kind, Notes, key
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import START_MS, ManualClock
from tests.support.recovery import failing

SETTINGS = Settings(_env_file=None)
STALE_MS = 60_000


@pytest.fixture
def notes(clock: ManualClock) -> Notes:
    return Notes.of(model_repo(SETTINGS, clock))


def test_a_note_is_read_until_its_time_is_over_and_a_later_one_replaces_it(notes: Notes, clock: ManualClock) -> None:
    notes.put(Kind.RESULT, "a", "first", seconds=60)
    notes.put(Kind.RESULT, "a", "second", seconds=10)
    notes.put(Kind.SENT, "a", "of another kind", seconds=10)
    clock.advance(9.999)
    assert [notes.get(Kind.RESULT, "a"), notes.get(Kind.SENT, "a")] == ["second", "of another kind"]
    clock.advance(0.001)
    assert notes.get(Kind.RESULT, "a") is None


def test_several_notes_are_read_without_those_that_are_missing_deleted_or_without_text(notes: Notes) -> None:
    for name in "abc":
        notes.put(Kind.CHORD, name, f"text of {name}", seconds=60)
    notes.delete(Kind.CHORD, "b")
    notes.delete(Kind.CHORD, "never there")
    notes.arrive("members", "one", seconds=60)
    assert notes.get_many(Kind.CHORD, ["c", "b", "members", "a", "c"]) == {"c": "text of c", "a": "text of a"}


def test_a_note_is_read_consistently(clock: ManualClock) -> None:
    asked: list[dict[str, Any]] = []

    def ask(request: dict[str, Any]) -> bool:
        asked.append(request)
        return False

    line = failing(model_repo(SETTINGS, clock).table.client(), "get_item", ask)
    notes = Notes(lambda: line, SETTINGS.job_table, clock=clock, sleep=clock.advance)
    assert notes.get(Kind.TICK, "a") is None
    assert asked == [{"TableName": SETTINGS.job_table, "Key": key(Kind.TICK, "a"), "ConsistentRead": True}]


def test_a_request_is_tried_again_after_the_given_wait(clock: ManualClock) -> None:
    repo, tries = model_repo(SETTINGS, clock), iter([True, True, False])
    line, waits = failing(repo.table.client(), "put_item", lambda _: next(tries)), list[float]()
    repo.table.client, repo.table.sleep = lambda: line, waits.append
    Notes.of(repo).put(Kind.TICK, "a", "text", seconds=60)
    assert (len(waits), Notes.of(repo).get(Kind.TICK, "a")) == (2, "text")


@pytest.mark.parametrize(
    ("text", "owner", "after_ms", "prevented_by"),
    [
        ("text", "ann", 0, None),  # her own
        ("text", "ben", 0, "text"),
        ("text", "ben", STALE_MS, "text"),
        ("text", "ben", STALE_MS + 1, None),
        ("text", "ben", -STALE_MS, "text"),
        ("text", "ben", -STALE_MS - 1, None),  # written by a clock that was ahead
        ("other", "ann", 0, "text"),
        ("other", "ben", STALE_MS + 1, "text"),
    ],
)
def test_a_note_is_seized_by_one_owner_until_that_is_stale(
    notes: Notes, clock: ManualClock, text: str, owner: str, after_ms: int, prevented_by: str | None
) -> None:
    clock.advance(1000)
    first = clock()
    assert notes.seize(Kind.TICK, "a", "text", "ann", stale_ms=STALE_MS, seconds=600) is None
    if after_ms < 0:
        clock.put_back(-after_ms / 1000)
    else:
        clock.advance(after_ms / 1000)
    assert notes.seize(Kind.TICK, "a", text, owner, stale_ms=STALE_MS, seconds=900) == prevented_by
    answer = notes._client().get_item(TableName=SETTINGS.job_table, Key=key(Kind.TICK, "a"), ConsistentRead=True)
    at, seconds = (first, 600) if prevented_by else (clock(), 900)
    assert answer["Item"] == {
        **key(Kind.TICK, "a"),
        "text": attribute("text"),
        "owner": attribute("ann" if prevented_by else owner),
        "taken_at": attribute(at),
        schema.TTL: attribute(-(-at // 1000) + seconds),
    }


def test_a_note_without_text_that_prevents_a_seizure_is_told_as_empty(notes: Notes) -> None:
    """It is no note of ours, so it stays."""
    item = {**key(Kind.TICK, "a"), "text": {"N": "1"}, schema.TTL: attribute(START_MS)}
    notes._client().put_item(TableName=SETTINGS.job_table, Item=item)
    assert notes.seize(Kind.TICK, "a", "text", "ann", stale_ms=STALE_MS, seconds=60) == ""
