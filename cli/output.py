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
from typing import Any, Final, Literal, TypeAlias

import click

from jobclaim.cli.drawing import GAP, Drawn, cell, grid, terminal_width, widths
from jobclaim.specs.visible import visible_json

Format: TypeAlias = Literal["table", "json", "jsonl", "ids", "ids0"]
Record: TypeAlias = Mapping[str, Any]
FORMATS: Final = ("table", "json", "jsonl", "ids")
WITHOUT_IDS: Final = ("table", "json", "jsonl")
WIDE: Final = 24
"""Characters up to which a column that wraps is not squeezed, while there are columns that can be left out."""
_PRINT0: Final = "jobclaim.print0"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its title, a function that makes the cell of a record, and the cell's style.

    Attributes
    ----------
    fold : bool
        Wrap its cells if the table is too wide.
    rank : int
        Columns of the highest rank are left out first where the terminal is too narrow; those of rank 0 always stay.
    """

    title: str
    cell: Callable[[Record], str]
    style: Callable[[Record], str] | str = ""
    fold: bool = True
    rank: int = 0


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
                width = terminal_width()
                kept = fitting(rows, columns, width)
                say(table(rows, kept))
                if hidden := ", ".join(column.title for column in columns if column not in kept):
                    remark(f"Not shown at {width} columns: {hidden}; widen the terminal or use -o json")
            else:
                remark(empty)
        else:
            for row in rows:
                self._write(row)

    def one(self, record: Record, render: Callable[[], str]) -> None:
        """Write a single record; ``render`` draws it for the table format."""
        if self.format == "table":
            say(render())
        elif self.format == "json":
            say(_pretty(record))
        else:
            self._write(record)

    def fact(self, record: Record, text: str) -> None:
        """Write a single record, or in the table format this sentence."""
        self.one(record, lambda: text)

    @property
    def is_ids(self) -> bool:
        """Return whether bare ids are written."""
        return self.format in ("ids", "ids0")

    def id(self, value: str) -> None:
        """Write a bare id, ended as requested."""
        if self.format == "ids0":
            click.echo(f"{value}\0", nl=False)
        else:
            say(value)

    def _write(self, record: Record) -> None:
        if self.is_ids:
            self.id(str(record[self.id_field]))
        else:
            say(visible_json(json.dumps(record, ensure_ascii=False, separators=(",", ":"))))


def fitting(rows: Sequence[Record], columns: Sequence[Column], width: int) -> list[Column]:
    """Return the columns that fit a width, without those of the highest rank first; those of rank 0 stay, and wrap."""
    natural = widths([[one.title for one in columns], *([one.cell(row) for one in columns] for row in rows)])
    wanted = [min(wide, WIDE) if one.fold else wide for one, wide in zip(columns, natural, strict=True)]
    kept = list(zip(columns, wanted, strict=True))
    while sum(wide + GAP for _, wide in kept) > width and any(column.rank for column, _ in kept):
        kept.remove(max(kept, key=lambda pair: pair[0].rank))
    return [column for column, _ in kept]


def table(rows: Sequence[Record], columns: Sequence[Column]) -> Drawn:
    """Draw records as a table; long words such as ids are wrapped, never truncated, so that they can be copied."""
    return grid(
        ([cell(column.cell(row), _style(column, row)) for column in columns] for row in rows),
        titles=[column.title for column in columns],
        whole={index for index, column in enumerate(columns) if not column.fold},
    )


def _style(column: Column, row: Record) -> str:
    return column.style(row) if callable(column.style) else column.style


def say(text: str, *, err: bool = False, prefix: str = "") -> None:
    """Write a line, on standard output unless ``err``; escape control characters except in what we drew ourselves."""
    click.echo(f"{prefix}{cell(text)}", err=err, color=_color())


def _color() -> bool | None:
    """Return whether to keep colors; ``None``: on terminals only. `NO_COLOR` wins over `FORCE_COLOR`."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") == "dumb" else None


def remark(text: str) -> None:
    """Write a remark to standard error, where it does not disturb pipes."""
    say(text, err=True)


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``-o/--output`` and ``-0/--print0`` to a command whose records have ids; passed on as ``output``."""
    print0 = click.option(
        "-0",
        "--print0",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember_print0,
        help="Write bare ids, each ended by a NUL character, for `xargs -0`.",
    )
    return _option(FORMATS)(print0(command))


def _remember_print0(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta[_PRINT0] = value


def _format(ctx: click.Context, _: click.Parameter, value: Format | None) -> Format | None:
    if not ctx.meta.get(_PRINT0):
        return value
    if value not in (None, "ids"):
        raise click.UsageError(f"-0 writes bare ids, and -o {value} does not; pass one of them")
    return "ids0"


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
        callback=_format,
        help="Default: table on a terminal, jsonl in a pipe.",
    )


def _pretty(value: Any) -> str:
    return visible_json(json.dumps(value, ensure_ascii=False, indent=2))
