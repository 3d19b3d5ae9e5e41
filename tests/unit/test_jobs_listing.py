"""The cursor of a list, and how the index's partitions are merged into one order."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import InvalidInput, Job, JobStatus
from jobclaim.jobs.storage.listing import ROUNDS, Position, decode_cursor, encode_cursor, list_page, state_keys
from jobclaim.jobs.storage.table import IndexEntry, Jobs, JobTable

ENTRIES = st.builds(IndexEntry, job_id=st.text(min_size=1, max_size=20), at=st.integers(0, 10**15))
POSITIONS = st.dictionaries(
    st.text(min_size=1, max_size=12),
    st.builds(Position, done=st.just(True)) | st.builds(Position, entry=st.none() | ENTRIES),
    max_size=6,
)


class Partitions:
    """The part of `JobTable` that a list reads, in memory."""

    def __init__(self, rows: dict[str, list[int]]) -> None:
        self.rows = {
            key: [IndexEntry(f"{key}-{n}", at) for n, at in enumerate(sorted(ats))] for key, ats in rows.items()
        }
        self.asked = 0

    def entries(
        self, key: str, *, limit: int, newest_first: bool = False, after: IndexEntry | None = None, **bounds: int
    ) -> list[IndexEntry]:
        self.asked += 1
        rows = list(reversed(self.rows[key])) if newest_first else self.rows[key]
        start = rows.index(after) + 1 if after else 0
        return [row for row in rows[start:] if row.at >= bounds.get("since", 0)][:limit]

    def get_many(self, job_ids: list[str]) -> Jobs:
        found = Jobs()
        found |= {job_id: Job(job_id=job_id, task="t", queue="q", status=JobStatus.PENDING) for job_id in job_ids}
        return found


def page(rows: Partitions, **options: Any) -> Any:
    options = {"scope": "s", "keep": lambda job: True, "newest_first": False, "cursor": None, **options}
    return list_page(cast("JobTable", rows), list(rows.rows), **options)


@given(POSITIONS, st.text(max_size=10))
def test_a_cursor_survives_its_text(positions: dict[str, Position], scope: str) -> None:
    assert decode_cursor(encode_cursor(positions, scope), scope, list(positions)) == positions


@given(POSITIONS, st.integers(0), st.integers(1, 255))
def test_a_changed_byte_is_noticed(positions: dict[str, Position], place: int, change: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(encode_cursor(positions, "s")))
    raw[place % len(raw)] ^= change

    with pytest.raises(InvalidInput):
        decode_cursor(base64.urlsafe_b64encode(bytes(raw)).decode(), "s", list(positions))


@pytest.mark.parametrize(
    "row",
    [[-1, "a"], [10**16, "a"], [True, "a"], [1.5, "a"], ["1", "a"], [1, ""], [1, "a" * 2049], [1, 2], [1], {"a": 1}],
)
def test_a_sealed_cursor_whose_place_dynamodb_would_refuse_is_refused_here(row: Any) -> None:
    """Anybody can compute the seal."""
    body = json.dumps({"a": row}).encode()
    cursor = base64.urlsafe_b64encode(hashlib.sha256(b"s\0" + body).digest()[:8] + body).decode()
    with pytest.raises(InvalidInput, match="does not continue this list"):
        decode_cursor(cursor, "s", ["a"])


@given(st.text() | st.binary() | st.integers() | st.none().map(lambda _: []))
def test_anything_that_is_no_cursor_is_refused_in_one_way(nonsense: Any) -> None:
    with pytest.raises(InvalidInput, match="does not continue this list"):
        decode_cursor(nonsense, "s", ["a"])


@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 9), max_size=12), min_size=1),
    st.integers(1, 7),
    st.booleans(),
)
def test_pages_of_any_length_give_every_entry_once_in_order(
    rows: dict[str, list[int]], limit: int, newest_first: bool
) -> None:
    partitions, cursor, listed = Partitions(rows), None, []
    at = {entry.job_id: entry.at for entries in partitions.rows.values() for entry in entries}
    for _ in range(100):
        answer = page(partitions, limit=limit, newest_first=newest_first, cursor=cursor)
        assert len(answer.jobs) <= limit
        listed += [job.job_id for job in answer.jobs]
        cursor = answer.cursor
        if cursor is None:
            break

    assert cursor is None
    assert sorted(listed) == sorted(at)
    assert [at[job_id] for job_id in listed] == sorted(at.values(), reverse=newest_first)


@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 300), max_size=250), min_size=1),
    st.integers(1, 40),
    st.integers(1, 5),
    st.booleans(),
)
def test_a_search_finds_every_job_once_in_order_and_counts_what_it_looked_through(
    rows: dict[str, list[int]], limit: int, each: int, newest_first: bool
) -> None:
    partitions, cursor, found, looked_at = Partitions(rows), None, [], 0
    at = {entry.job_id: entry.at for entries in partitions.rows.values() for entry in entries}
    wanted = {job_id for n, job_id in enumerate(sorted(at)) if n % each == 0}
    for _ in range(1000):
        answer = page(
            partitions,
            limit=limit,
            newest_first=newest_first,
            cursor=cursor,
            searching=True,
            keep=lambda job: job.job_id in wanted,
        )
        assert len(answer.jobs) <= limit
        found += [job.job_id for job in answer.jobs]
        looked_at += answer.looked_at
        if answer.jobs:
            assert answer.span[0] <= min(at[job.job_id] for job in answer.jobs)
        cursor = answer.cursor
        if cursor is None:
            break
    assert (cursor, looked_at) == (None, len(at))
    assert sorted(found) == sorted(wanted)
    assert [at[job_id] for job_id in found] == sorted((at[job_id] for job_id in wanted), reverse=newest_first)


def test_a_search_looks_through_two_thousand_jobs_and_says_from_when_to_when() -> None:
    partitions = Partitions({"a": list(range(5000))})
    answer = page(partitions, limit=5, keep=lambda job: False, searching=True)
    assert (answer.looked_at, answer.span, partitions.asked) == (2000, (0, 1999), 20)
    later = page(partitions, limit=5, keep=lambda job: False, searching=True, cursor=answer.cursor, since=4900)
    assert (later.looked_at, later.span, later.cursor) == (100, (4900, 4999), None)


def test_a_list_in_which_little_matches_costs_a_bounded_number_of_requests_and_goes_on_by_its_cursor() -> None:
    partitions = Partitions({"a": list(range(1000)), "b": []})

    answer = page(partitions, limit=5, keep=lambda job: False)

    assert answer.jobs == ()
    assert answer.cursor is not None
    assert partitions.asked == ROUNDS + 1, "the empty partition is asked once"


def test_open_jobs_are_found_by_queue_and_shard_and_ended_ones_by_shard() -> None:
    assert state_keys(JobStatus.PENDING, ["a", "b"], 2) == ["OPEN#a#0", "OPEN#a#1", "OPEN#b#0", "OPEN#b#1"]
    assert state_keys(JobStatus.PROCESSING, ["a"], 1) == ["OPEN#a#0"]
    assert state_keys(JobStatus.FAILED, ["a", "b"], 2) == [
        *("FAILED#0", "FAILED#1"),
        *("RETRY#0", "RETRY#1", "SETTLED#0", "SETTLED#1"),
    ]
