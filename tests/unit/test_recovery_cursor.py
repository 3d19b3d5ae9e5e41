"""The cursor: what it remembers, what it forgets, and what it makes of rubbish."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobclaim.jobs.storage.reads import IndexEntry
from jobclaim.recovery.cursor import Cursor, Mark

entries = st.none() | st.builds(IndexEntry, st.text(min_size=1), st.integers(0, 2**53))
times = st.integers(0, 2**53)
marks = st.builds(Mark, overdue=entries, round_since=times, complete_since=times, ahead=entries)


@given(marks=st.dictionaries(st.text(), marks))
def test_what_is_written_is_read_back(marks: dict[str, Mark]) -> None:
    assert Cursor.decode(Cursor(marks).encode()) == Cursor(marks)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[]", "7", '{"p": 1}', '{"p": [1]}', '{"p": [[], "x", 0, []]}', '{"p": [[1], 0, 0, []]}'),
        *('{"p": [{"a": 1}, 0, 0, []]}', '{"p": [[], Infinity, 0, []]}'),
    ],
)
def test_rubbish_is_a_fresh_start(text: str) -> None:
    assert Cursor.decode(text) == Cursor()


def test_look_ahead_that_time_has_overtaken_is_forgotten() -> None:
    cursor = Cursor({"p": Mark(ahead=IndexEntry("j", 1_000))})
    assert cursor.trimmed(1_000, keep_rounds=False) == cursor
    assert cursor.trimmed(1_001, keep_rounds=False) == Cursor()


def test_finished_rounds_are_kept_only_while_somebody_asks_for_them() -> None:
    cursor = Cursor({"p": Mark(complete_since=5)})
    assert cursor.trimmed(10, keep_rounds=True) == cursor
    assert cursor.trimmed(10, keep_rounds=False) == Cursor()


def test_an_unfinished_round_is_kept() -> None:
    cursor = Cursor({"p": Mark(overdue=IndexEntry("j", 1), round_since=2)})
    assert cursor.trimmed(10**15, keep_rounds=False) == cursor
