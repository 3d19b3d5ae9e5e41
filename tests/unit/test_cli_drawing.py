"""Tables of the command line: they fit the terminal, are aligned in every script, and keep each style in its cell."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from wcwidth import wcswidth

from jobclaim.cli.drawing import LONG, Drawn, cell, grid, squeezed, stacked, widths
from jobclaim.cli.output import Output, say

JOB = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfd4bad4b"
STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Set the width of the terminal."""
    return lambda width: monkeypatch.setenv("COLUMNS", str(width))


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard output is not a terminal."""

    def refuse(*_: Any) -> Any:
        raise OSError("Inappropriate ioctl for device")

    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", refuse)


def shown(drawn: str) -> list[str]:
    """Give the lines that a reader sees."""
    return STYLE.sub("", drawn).split("\n")


def test_a_table_has_titles_a_rule_and_no_space_at_the_end_of_a_line(terminal: Callable[[int], None]) -> None:
    terminal(80)
    assert shown(grid([("a", "1"), ("bcd", "20")], titles=("job", "count"), right={1})) == [
        "job  count",
        "──── ──────",
        "a        1",
        "bcd     20",
    ]
    assert shown(grid([("a", "x"), ("b", "")])) == ["a  x", "b"]


@pytest.mark.parametrize("width", [20, 34, 80])
def test_a_table_fits_the_terminal_in_every_script(terminal: Callable[[int], None], width: int) -> None:
    terminal(width)
    rows = [("請求書を送る " * 8, "👩\u200d🔬 straße " * 9, "a"), ("plain words " * 9, JOB, "עברית")]
    lines = shown(grid(rows, titles=("task", "remark", "n")))
    assert max(map(wcswidth, lines)) <= width
    assert "".join("".join(line.split()) for line in lines).count("請") == 8


def test_wide_characters_keep_columns_aligned(terminal: Callable[[int], None]) -> None:
    terminal(80)
    lines = shown(grid([("請求書", "|"), ("👩\u200d🔬", "|"), ("e\u0301", "|"), ("plain", "|")]))
    assert {wcswidth(line) for line in lines} == {9}


def test_a_column_is_as_wide_as_its_widest_text() -> None:
    assert widths([("請", "abc"), ("", "a")]) == [2, 3]


def test_an_id_is_wrapped_where_its_line_is_full(terminal: Callable[[int], None]) -> None:
    terminal(20)
    assert shown(grid([(JOB,)])) == [JOB[:18], JOB[18:]]


def test_a_long_word_with_a_style_is_wrapped_where_its_line_is_full(terminal: Callable[[int], None]) -> None:
    terminal(80)
    assert shown(grid([(cell("x" * 1_500, "red"),)])) == ["x" * 78] * 19 + ["x" * 18]


def test_columns_that_stay_whole_are_wrapped_last() -> None:
    assert squeezed([36, 10, 40], whole={0}, room=72) == [36, 10, 20]
    assert squeezed([36, 10, 40], whole={0}, room=48) == [36, 3, 3]
    assert squeezed([36, 10, 40], whole={0}, room=30) == [20, 2, 2]
    assert squeezed([36, 10, 40], whole={0}, room=1) == [1, 1, 1]


def test_no_character_is_lost_where_lines_wrap(terminal: Callable[[int], None]) -> None:
    terminal(30)
    word = "".join(chr(ord("a") + number % 26) for number in range(3 * LONG))
    for text in (word, f"short {word}", JOB, f"{JOB} {JOB}"):
        assert "".join("".join(shown(grid([(text,)]))).split()) == text.replace(" ", "")


def test_a_word_of_a_megabyte_is_drawn(terminal: Callable[[int], None]) -> None:
    terminal(80)
    assert shown(grid([("x" * 1_000_000,)])).count("x" * 78) == 1_000_000 // 78


@pytest.mark.usefixtures("pipe")
def test_a_pipe_gets_every_value_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 3_000
    Output("table").one(
        {}, lambda: stacked(grid([(JOB, long, "a word " * 90)], titles=("job", "b", "c")), "word " * 90)
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == f"{JOB}  {long}  {'a word ' * 90}".rstrip()
    assert lines[3] == "word " * 90


def test_a_style_ends_with_its_cell_on_every_line(terminal: Callable[[int], None]) -> None:
    terminal(20)
    lines = grid([(cell("red words that wrap\nand more", "bold red"), "plain")]).split("\n")
    assert len(lines) == 3
    for line in lines:
        red, _, rest = line.partition("\x1b[0m")
        assert red.startswith("\x1b[")
        assert STYLE.search(rest) is None


def test_titles_that_do_not_fit_are_wrapped(terminal: Callable[[int], None]) -> None:
    terminal(24)
    lines = shown(grid([("12", "8")], titles=("retries that completed", "dead letters healed")))
    assert "".join("".join(line.split()) for line in lines[:4]).count("ed") == 2
    assert max(map(len, lines)) <= 24


def test_what_is_drawn_is_neither_escaped_again_nor_styled_again() -> None:
    once = cell("\x1b[8m", "red")
    assert once == "\x1b[31m\\x1b[8m\x1b[0m"
    assert cell("a\n\nb", "bold") == "\x1b[1ma\x1b[0m\n\n\x1b[1mb\x1b[0m"
    assert cell(once, "bold") is once
    assert stacked(once, "\x1b") == f"{once}\n\\x1b"
    assert isinstance(stacked(), Drawn)


@pytest.mark.parametrize(
    ("environment", "colored"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True),
    ],
)
def test_colors_are_for_terminals_unless_forced(
    environment: dict[str, str],
    colored: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    say(cell("text", "red"))
    assert capsys.readouterr().out == ("\x1b[31mtext\x1b[0m\n" if colored else "text\n")


@pytest.mark.parametrize(("term", "colored"), [("xterm", True), ("dumb", False)])
def test_a_terminal_without_colors_gets_none(
    term: str, colored: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    say(cell("text", "red"))
    assert ("\x1b" in capsys.readouterr().out) is colored
