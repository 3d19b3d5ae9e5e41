"""What a documented command must give: shapes of its output, by which a scenario judges it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from signal import SIGINT, Signals
from typing import Any

from tests.integration.documented_world import Run, World

Shape = Callable[[World, Run], None]
Setup = Callable[[World], Mapping[str, str] | None]
JOB = ("job_id", "task", "queue", "status", "attempt", "max_attempts", "created_at_ms", "payload", "failure", "history")
JOB_TABLE = ("job", "task", "queue", "status")
FINDING = ("check", "subject", "file", "line", "problem", "fix", "place", "fingerprint")


@dataclass(frozen=True)
class Scenario:
    """How one documented line is run and judged.

    Attributes
    ----------
    shape : callable
        Judges the output.
    setup : callable, optional
        Makes what the line is about, and gives words of the line with what stands for them here.
    exit : int
        The exit code that it must have.
    answer : str
        What is typed when it asks.
    until : str
        For what goes on until a signal: it gets one after a line that fits this pattern.
    by : Signals
        That signal; default Ctrl-C. Celery's own programs end well by SIGTERM only.
    columns : tuple of str
        Titles of the table that it draws on a terminal; it is run for them once more.
    """

    shape: Shape
    setup: Setup | None = None
    exit: int = 0
    answer: str = ""
    until: str = ""
    by: Signals = SIGINT
    columns: tuple[str, ...] = ()


def rows(*fields: str, least: int = 1) -> Shape:
    """Demand JSON lines with these fields."""

    def judge(_: World, run: Run) -> None:
        found = [json.loads(line) for line in run.stdout.splitlines()]
        assert len(found) >= least, run.stderr
        for row in found:
            assert set(fields) <= row.keys(), row

    return judge


def one(*fields: str, **values: Any) -> Shape:
    """Demand one JSON record, on a line or drawn out, with these fields and values."""

    def judge(_: World, run: Run) -> None:
        row = json.loads(run.stdout)
        assert {*fields, *values} <= row.keys(), row
        assert {name: row[name] for name in values} == values

    return judge


def items(*fields: str) -> Shape:
    """Demand one JSON document with a list of records."""

    def judge(_: World, run: Run) -> None:
        found = json.loads(run.stdout)["items"]
        assert found
        for row in found:
            assert set(fields) <= row.keys(), row

    return judge


def says(pattern: str) -> Shape:
    """Demand words, on either output."""

    def judge(_: World, run: Run) -> None:
        assert re.search(pattern, run.stdout + run.stderr, re.MULTILINE), run.stdout + run.stderr

    return judge


def values(pattern: str) -> Shape:
    """Demand lines, each of which is such a word: ids, names, numbers."""

    def judge(_: World, run: Run) -> None:
        lines = run.stdout.splitlines()
        assert lines, run.stderr
        for line in lines:
            assert re.fullmatch(pattern, line), line

    return judge


def silent(_: World, run: Run) -> None:
    """Demand nothing on standard output."""
    assert run.stdout == ""


def writes(name: str, pattern: str) -> Shape:
    """Demand a file in the project that holds such a text."""

    def judge(world: World, run: Run) -> None:
        assert re.search(pattern, (world.folder / name).read_text(), re.MULTILINE)

    return judge


def both(*shapes: Shape) -> Shape:
    """Demand several."""

    def judge(world: World, run: Run) -> None:
        for shape in shapes:
            shape(world, run)

    return judge
