"""Output of every command: a table for terminals, JSON for programs, bare ids for pipes.

The format is given by ``-o``; the default is ``table`` on a terminal and ``jsonl`` elsewhere. Records are the same in
``json`` and ``jsonl``: one schema, documented in `views.records`. Records go to standard output, remarks to standard
error. Control characters in a job's data never reach the terminal: `jobclaim.specs.visible`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import click

from jobclaim.specs.visible import visible, visible_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

Format: TypeAlias = Literal["table", "json", "jsonl", "ids"]
Record: TypeAlias = Mapping[str, Any]
FORMATS: Final = ("table", "json", "jsonl", "ids")
WITHOUT_IDS: Final = ("table", "json", "jsonl")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, a function that makes the cell of a record, and rich's style."""

    title: str
    cell: Callable[[Record], str]
    style: Callable[[Record], str] | str = ""
    fold: bool = True


class Output:
    """Writes records in the requested format.

    Parameters
    ----------
    format
        Default ``None``: ``table`` if standard output is a terminal, else ``jsonl``.
    id_field : str
        Field that ``-o ids`` writes.
    """

    def __init__(self, format: Format | None = None, *, id_field: str = "job_id") -> None:  # noqa: A002
        self.format: Format = format or ("table" if sys.stdout.isatty() else "jsonl")
        self.id_field = id_field

    def many(
        self, records: Iterable[Record], columns: Sequence[Column], *, empty: str, extra: Record | None = None
    ) -> None:
        """Write a list; with ``-o json`` as ``{"items": [...], **extra}``, which leaves room for a cursor."""
        rows = list(records)
        if self.format == "json":
            say(_pretty({"items": rows, **(extra or {})}))
        elif self.format == "table":
            if rows:
                console().print(table(rows, columns))
            else:
                remark(empty)
        else:
            for row in rows:
                say(self._line(row))

    def one(self, record: Record, render: Callable[[Console], None]) -> None:
        """Write a single record; ``render`` draws it for the table format."""
        if self.format == "table":
            render(console())
        elif self.format == "json":
            say(_pretty(record))
        else:
            say(self._line(record))

    def fact(self, record: Record, text: str) -> None:
        """Write a single record, or in the table format this sentence."""
        if self.format == "table":
            say(text)
        else:
            self.one(record, lambda _: None)

    def _line(self, record: Record) -> str:
        if self.format == "ids":
            return str(record[self.id_field])
        return visible_json(json.dumps(record, ensure_ascii=False, separators=(",", ":")))


def console(*, stderr: bool = False) -> Console:
    """Build rich's console. It honours ``NO_COLOR`` and writes no control characters other than rich's own."""
    from jobclaim.cli.console import VisibleConsole

    return VisibleConsole(stderr=stderr, highlight=False, soft_wrap=False)


def table(rows: Sequence[Record], columns: Sequence[Column], *, title: str | None = None) -> RenderableType:
    """Draw records as a table; long words such as ids are wrapped, never truncated, so that they can be copied."""
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        drawn.add_column(column.title, overflow="fold" if column.fold else "ellipsis", no_wrap=not column.fold)
    for row in rows:
        cells = []
        for column in columns:
            style = column.style(row) if callable(column.style) else column.style
            cells.append(cell(column.cell(row), style))
        drawn.add_row(*cells)
    return drawn


def cell(text: str, style: str = "") -> Text:
    """Build a text that rich draws without markup, with control characters escaped before widths are set."""
    from rich.text import Text

    return Text(visible(text), style=style)


def say(text: str, *, err: bool = False, prefix: str = "") -> None:
    """Write a line, on standard output unless ``err``; escape control characters except in our own coloured prefix."""
    click.echo(f"{prefix}{visible(text)}", err=err, color=False if os.environ.get("NO_COLOR") else None)


def remark(text: str) -> None:
    """Write a remark to standard error, where it does not disturb pipes."""
    say(text, err=True)


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option ``-o/--output`` to a command whose records have ids; passed on as ``output``."""
    return _option(FORMATS)(command)


def report_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-o/--output`` to a command whose records have no ids: ``-o ids`` is refused before anything is done."""
    return _option(WITHOUT_IDS)(command)


def _option(formats: Sequence[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(
        "-o",
        "--output",
        "output",
        type=click.Choice(formats),
        default=None,
        help="Default: table on a terminal, jsonl in a pipe.",
    )


def _pretty(value: Any) -> str:
    return visible_json(json.dumps(value, ensure_ascii=False, indent=2))
