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
from jobclaim.jobs.storage.reads import IndexEntry, Jobs
from jobclaim.jobs.storage.table import JobTable

ENTRIES = st.builds(IndexEntry, job_id=st.text(min_size=1, max_size=20), at=st.integers(0, 10**15))
POSITIONS = st.dictionaries(
    st.text(min_size=1, max_size=12),
    st.builds(Position, done=st.just(True)) | st.builds(Position, entry=st.none() | ENTRIES),
    max_size=6,
)


class Partitions:
    """The part of `JobTable` that a list reads, in memory; jobs may be missing, or not readable."""

    def __init__(self, rows: dict[str, list[int]], *, missing: str = "", unreadable: str = "") -> None:
        self.rows = {
            key: [IndexEntry(f"{key}-{n}", at) for n, at in enumerate(sorted(ats))] for key, ats in rows.items()
        }
        self.limits: list[int] = []
        self.batches: list[list[str]] = []
        self._missing, self._unreadable = missing, unreadable

    def entries(
        self,
        key: str,
        *,
        limit: int,
        newest_first: bool = False,
        after: IndexEntry | None = None,
        since: int | None = None,
        up_to: int | None = None,
    ) -> list[IndexEntry]:
        self.limits.append(limit)
        rows = list(reversed(self.rows[key])) if newest_first else self.rows[key]
        start = rows.index(after) + 1 if after else 0
        bounds = range(0 if since is None or up_to is None else since, 10**16 if up_to is None else up_to + 1)
        return [row for row in rows[start:] if row.at in bounds][:limit]

    def get_many(self, job_ids: list[str]) -> Jobs:
        self.batches.append(job_ids)
        found = Jobs()
        for job_id in job_ids:
            if job_id == self._unreadable:
                found.unreadable[job_id] = "odd"
            elif job_id != self._missing:
                found[job_id] = Job(job_id=job_id, task="t", queue="q", status=JobStatus.PENDING)
        return found


def page(rows: Partitions, **options: Any) -> Any:
    options = {"scope": "s", "keep": lambda job: True, "newest_first": False, "cursor": None, **options}
    return list_page(cast("JobTable", rows), list(rows.rows), **options)


def sealed(row: Any) -> str:
    """Make a cursor by hand: anybody can compute the seal."""
    body = json.dumps({"a": row}).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(b"s\0" + body).digest()[:8] + body).decode()


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
    "row", [[-1, "a"], [10**15 + 1, "a"], [True, "a"], [1.5, "a"], ["1", "a"], [1, ""], [1, "a" * 2049], [1, 2]]
)
def test_a_sealed_cursor_whose_place_dynamodb_would_refuse_is_refused_here(row: Any) -> None:
    with pytest.raises(InvalidInput, match=r"does not continue this list \(it does not mark a place in a list\)"):
        decode_cursor(sealed(row), "s", ["a"])


@pytest.mark.parametrize("row", [[1], {"a": 1}, 1, [1, "a", 2]])
def test_a_sealed_cursor_without_a_place_is_refused(row: Any) -> None:
    with pytest.raises(InvalidInput, match="does not continue this list"):
        decode_cursor(sealed(row), "s", ["a"])


@pytest.mark.parametrize(("at", "key"), [(0, "a"), (10**15, "a"), (1, "a" * 2048), (1, "\u00e9" * 1024)])
def test_places_at_the_ends_of_what_dynamodb_takes_are_read(at: int, key: str) -> None:
    assert decode_cursor(sealed([at, key]), "s", ["a"]) == {"a": Position(IndexEntry(key, at))}


def test_a_cursor_has_only_characters_that_an_address_may_have_and_is_taken_as_it_is() -> None:
    cursors = [encode_cursor({"a": Position(IndexEntry("j", n))}, "s") for n in range(50)]
    assert {"-", "_"} < {character for cursor in cursors for character in cursor}
    for n, cursor in enumerate(cursors):
        assert decode_cursor(cursor, "s", ["a"]) == {"a": Position(IndexEntry("j", n))}
        for odd in (f"{cursor}\n", f"{cursor[:5]} {cursor[5:]}"):
            with pytest.raises(InvalidInput):
                decode_cursor(odd, "s", ["a"])


@pytest.mark.parametrize("keys", [["a"], ["a", "b", "c"], ["a", "c"]])
def test_a_cursor_of_other_partitions_is_refused(keys: list[str]) -> None:
    cursor = encode_cursor({"a": Position(), "b": Position(done=True)}, "s")
    with pytest.raises(InvalidInput, match="queues or shards of this table have changed"):
        decode_cursor(cursor, "s", keys)


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


def test_a_search_looks_through_twenty_batches_and_says_from_when_to_when() -> None:
    partitions = Partitions({"a": list(range(5000))})
    answer = page(partitions, limit=5, keep=lambda job: False, searching=True)
    assert (answer.looked_at, answer.span, len(partitions.limits)) == (2000, (0, 1999), 20)
    later = page(partitions, limit=5, keep=lambda job: False, searching=True, cursor=answer.cursor, since=4900)
    assert (later.looked_at, later.span, later.cursor) == (100, (4900, 4999), None)


def test_a_list_in_which_little_matches_costs_a_bounded_number_of_requests_and_goes_on_by_its_cursor() -> None:
    partitions = Partitions({"a": list(range(1000)), "b": []})

    answer = page(partitions, limit=5, keep=lambda job: False)

    assert answer.jobs == ()
    assert answer.cursor is not None
    assert len(partitions.limits) == ROUNDS + 1, "the empty partition is asked once"


@pytest.mark.parametrize(("searching", "limits"), [(False, [6, 3, 1, 1]), (True, [100])])
def test_each_round_asks_for_as_many_jobs_as_are_missing_and_a_search_for_a_hundred(
    searching: bool, limits: list[int]
) -> None:
    partitions = Partitions({"a": list(range(40))})

    def keep(job: Job) -> bool:
        return int(job.job_id.removeprefix("a-")) % 2 == 0

    answer = page(partitions, limit=6, keep=keep, searching=searching)
    assert [job.job_id for job in answer.jobs] == ["a-0", "a-2", "a-4", "a-6", "a-8", "a-10"]
    assert (partitions.limits, answer.looked_at, answer.span) == (limits, 11, (0, 10))
    rest = page(partitions, limit=1, searching=searching, cursor=answer.cursor)
    assert [job.job_id for job in rest.jobs] == ["a-11"]


@pytest.mark.parametrize("limit", [3, 4])
@pytest.mark.parametrize("searching", [False, True])
def test_a_page_that_reaches_the_end_has_no_cursor_and_looks_no_further(limit: int, searching: bool) -> None:
    partitions = Partitions({"a": [1, 2], "b": [3], "c": []})
    answer = page(partitions, limit=limit, searching=searching)
    assert ([job.job_id for job in answer.jobs], answer.cursor) == (["a-0", "a-1", "b-0"], None)
    assert partitions.batches == [["a-0", "a-1", "b-0"]]


def test_jobs_that_are_gone_are_left_out_and_those_that_cannot_be_read_are_named() -> None:
    partitions = Partitions({"a": [1, 2, 3, 4]}, missing="a-1", unreadable="a-2")
    answer = page(partitions, limit=4)
    assert ([job.job_id for job in answer.jobs], answer.unreadable) == (["a-0", "a-3"], ("a-2",))
    assert (answer.looked_at, answer.span) == (4, (1, 4))
    nothing = page(Partitions({"a": []}), limit=4)
    assert (nothing.jobs, nothing.unreadable, nothing.looked_at, nothing.span) == ((), (), 0, None)


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_list_begins_at_a_given_time(newest_first: bool) -> None:
    partitions = Partitions({"a": [1, 5, 10**15], "b": [4, 6]})
    answer = page(partitions, limit=9, since=5, newest_first=newest_first)
    listed = ["a-1", "b-1", "a-2"]
    assert [job.job_id for job in answer.jobs] == (listed[::-1] if newest_first else listed)


def test_open_jobs_are_found_by_queue_and_shard_and_ended_ones_by_shard() -> None:
    assert state_keys(JobStatus.PENDING, ["a", "b"], 2) == ["OPEN#a#0", "OPEN#a#1", "OPEN#b#0", "OPEN#b#1"]
    assert state_keys(JobStatus.PROCESSING, ["a"], 1) == ["OPEN#a#0"]
    assert state_keys(JobStatus.FAILED, ["a", "b"], 2) == [
        *("FAILED#0", "FAILED#1"),
        *("RETRY#0", "RETRY#1", "SETTLED#0", "SETTLED#1"),
    ]
