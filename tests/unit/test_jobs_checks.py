"""Checks of arguments: what passes comes out plain, what does not says why."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum, IntEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs import IllegalTransition, InvalidInput, JobStatus, checks, clock

NOW = 1_750_000_000_000


class Colour(str, Enum):  # noqa: UP042 - the kind whose str() is not its value
    RED = "red"


class Size(IntEnum):
    SMALL = 1


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=255))
def test_text_passes_unchanged_unless_it_is_blank(value: str) -> None:
    if value.strip():
        assert checks.text(value, "job_id") == value
    else:
        with pytest.raises(InvalidInput, match="job_id is empty"):
            checks.text(value, "job_id")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "must be text, not NoneType"),
        (5, "must be text, not int"),
        (b"id", "must be text, not bytes"),
        ("", "is empty"),
        ("  ", "is empty"),
        (" \u2003", "is empty"),
        ("x" * 256, "has 256 characters, at most 255 are allowed"),
        ("a\ud800", "lone surrogate"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
    ],
)
def test_text_that_cannot_name_anything_is_refused(value: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=f"job_id.*{complaint}"):
        checks.text(value, "job_id")


def test_a_member_of_an_enum_is_taken_by_its_plain_value() -> None:
    assert type(checks.text(Colour.RED, "task")) is str
    assert checks.text(Colour.RED, "task") == "red"
    assert type(checks.count(Size.SMALL, "limit")) is int


@pytest.mark.parametrize("value", ["x" * 255, "é" * 255, "x" * 254 + "\u2028"])
def test_the_longest_text_passes(value: str) -> None:
    assert checks.text(value, "job_id") == value


@pytest.mark.parametrize(
    ("given", "tags"),
    [
        (None, ()),
        ([], ()),
        (iter(["b", "a", "b"]), ("b", "a")),
        (["customer:42", "x" * 64, "A_./=@+-"], ("customer:42", "x" * 64, "A_./=@+-")),
        ([*map(str, range(10)), "0"], tuple(map(str, range(10)))),
    ],
)
def test_tags_are_words_each_once(given: Any, tags: tuple[str, ...]) -> None:
    assert checks.tags(given) == tags


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("abc", "must be a list of strings"),
        (b"abc", "must be a list of strings"),
        (5, "must be a list of strings"),
        ([5], "tag 5 must be text"),
        ([""], "tag '' must be text"),
        (["a b"], "tag 'a b' must be text"),
        (["é"], "tag 'é' must be text"),
        (["x" * 65], f"tag '{'x' * 65}' must be text"),
        (["x" * 100], f"tag '{'x' * 79} must be text"),
        (map(str, range(11)), "11 tags were given, at most 10"),
    ],
)
def test_what_is_no_tag_is_refused(given: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        checks.tags(given)


def test_the_least_and_the_most_of_a_range_are_in_it() -> None:
    assert [checks.count(value, "n") for value in (1, checks.MAX_COUNT)] == [1, checks.MAX_COUNT]
    assert [checks.count(value, "n", least=0, most=2) for value in (0, 2)] == [0, 2]
    for beyond in (checks.MAX_COUNT + 1, 0):
        with pytest.raises(InvalidInput, match="from 1 to 1,000,000"):
            checks.count(beyond, "n")
    latest = NOW + checks.MAX_AHEAD_MS
    assert [checks.moment(value, "available_at", NOW) for value in (0, latest)] == [0, latest]


@pytest.mark.parametrize("nothing", [None, ""])
def test_text_that_may_be_missing_is_empty_then(nothing: str | None) -> None:
    assert checks.optional_text(nothing, "worker_id") == ""


@pytest.mark.parametrize("value", [0, False, [], b""])
def test_text_that_may_be_missing_is_refused_as_anything_else(value: Any) -> None:
    with pytest.raises(InvalidInput, match="worker_id must be text"):
        checks.optional_text(value, "worker_id")


@pytest.mark.parametrize("value", [0, -1, True, "1", None, math.nan, math.inf, 1e300, 1001, 10**400])
def test_a_number_outside_its_range_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"ttl=.* must be a number above 0, at most 1,000"):
        checks.positive(value, "ttl", 1000)


@pytest.mark.parametrize("value", [1, 0.001, 1000])
def test_a_number_in_its_range_passes(value: float) -> None:
    assert checks.positive(value, "ttl", 1000) == value


@pytest.mark.parametrize("value", [0, -1, True, 1.0, "1", None, 10**40])
def test_a_count_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInput, match=r"max_attempts=.* must be a whole number from 1"):
        checks.count(value, "max_attempts")


def test_a_time_is_epoch_milliseconds_or_an_aware_datetime() -> None:
    noon = datetime(2025, 6, 15, 12, 0, 0, 1500, tzinfo=UTC)

    assert checks.moment(None, "available_at", NOW) == NOW
    assert checks.moment(NOW + 5, "available_at", NOW) == NOW + 5
    assert checks.moment(noon, "available_at", NOW) == 1_749_988_800_002
    assert checks.moment(noon.astimezone(timezone(timedelta(hours=9))), "available_at", NOW) == 1_749_988_800_002


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (datetime(2025, 6, 15), "no time zone"),  # noqa: DTZ001 - the mistake that is refused
        (-1, "must be epoch milliseconds"),
        (1.5, "must be epoch milliseconds"),
        (True, "must be epoch milliseconds"),
        ("2025-06-15", "must be epoch milliseconds"),
        (timedelta(hours=1), "must be epoch milliseconds"),
        (datetime.min.replace(tzinfo=UTC), "must be epoch milliseconds"),
        (datetime.max.replace(tzinfo=UTC), "more than 400 days ahead"),
        (NOW * 1000, "not microseconds"),
        (NOW + 400 * 86_400_000 + 1, "more than 400 days ahead"),
    ],
)
def test_a_time_that_is_none_is_refused(value: Any, complaint: str) -> None:
    with pytest.raises(InvalidInput, match=f"available_at=.*{complaint}"):
        checks.moment(value, "available_at", NOW)


@pytest.mark.parametrize("status", JobStatus)
def test_a_status_is_known_by_its_name(status: JobStatus) -> None:
    assert checks.status(str(status)) is checks.status(status) is status


@pytest.mark.parametrize("value", ["pending", "DONE", "", None, 5, [], {}])
def test_an_unknown_status_is_refused_with_the_known_ones(value: Any) -> None:
    with pytest.raises(IllegalTransition, match="is not a job status; use one of"):
        checks.status(value)


def test_time_is_epoch_milliseconds_and_waits_are_of_the_current_time_module(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.time_ns", lambda: 1_750_000_000_123_999_999)
    monkeypatch.setattr("time.sleep", slept.append)
    clock.wait(0.5)

    assert (clock.system_clock(), slept) == (1_750_000_000_123, [0.5])
