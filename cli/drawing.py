"""Text and tables for a terminal: styled by click, laid out by prettytable, with control characters of data escaped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import click

from jobclaim.specs.visible import visible

if TYPE_CHECKING:
    from prettytable import PrettyTable

UNLIMITED: Final = 1_000_000
"""Width of an output that is not a terminal: its values stay whole, for ``grep`` and logs."""
WIDEST_CHARACTER: Final = 2
LONG: Final = 1_000
"""Characters of a word that wcwidth wraps in little time."""
GAP: Final = 2
"""Space between two columns."""
_EFFECTS: Final = ("bold", "dim")


class Drawn(str):
    """Text that is written as it is: control characters are escaped, and the only codes in it are our own styles."""

    __slots__ = ()


def cell(text: str, style: str = "") -> Drawn:
    """Escape control characters, then style each line; a style is a color, ``bold``, ``dim`` or several of them."""
    if isinstance(text, Drawn):
        return text
    shown = visible(text)
    if not style:
        return Drawn(shown)
    words = style.split()
    color = next((word for word in words if word not in _EFFECTS), None)
    effects = {word: True for word in words if word in _EFFECTS}
    return Drawn("\n".join(line and click.style(line, fg=color, **effects) for line in shown.split("\n")))


def stacked(*parts: str) -> Drawn:
    """Put texts and tables below each other; those that are not drawn yet are escaped."""
    return Drawn("\n".join(map(cell, parts)))


def grid(
    rows: Iterable[Sequence[str]],
    *,
    titles: Sequence[str] = (),
    whole: Collection[int] = (),
    right: Collection[int] = (),
) -> Drawn:
    """Draw a table as wide as the terminal; cells that are too long are wrapped, never cut, so they can be copied.

    Parameters
    ----------
    titles
        Titles of the columns; default: no line of titles.
    whole
        Columns that are wrapped only if wrapping the others is not enough.
    right
        Columns that are aligned right.
    """
    head = [[cell(title, "bold") for title in titles]] if titles else []
    table = _table([*head, *rows], ruled=bool(titles))
    names = table.field_names
    fitted = dict(zip(names, squeezed(_widths(table), whole, terminal_width()), strict=True))
    table.max_width = fitted
    table.custom_format = {name: lambda name, text: _in_pieces(text, fitted[name]) for name in names}
    table.align.update({names[index]: "r" for index in right})
    return Drawn("\n".join(line.rstrip() for line in table.get_string().split("\n")))


def terminal_width() -> int:
    """Return ``COLUMNS`` or the width of the terminal; `UNLIMITED` if the output is not a terminal."""
    return shutil.get_terminal_size((UNLIMITED, 0)).columns


def widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """Return how wide each column is if nothing is wrapped."""
    return _widths(_table(rows))


def squeezed(natural: Sequence[int], whole: Collection[int], room: int) -> list[int]:
    """Narrow the widest columns until a table fits; those of ``whole`` only when the others cannot be narrowed."""
    fitted = [min(width, room) for width in natural]
    while sum(fitted) + GAP * len(fitted) > room:
        narrowable = [index for index, width in enumerate(fitted) if width > WIDEST_CHARACTER]
        if not narrowable:
            break
        first = [index for index in narrowable if index not in whole] or narrowable
        fitted[max(first, key=fitted.__getitem__)] -= 1
    return fitted


def _table(rows: Iterable[Sequence[str]], *, ruled: bool = False) -> PrettyTable:
    """Make a table without a frame, with a rule under the first row if ``ruled``."""
    from prettytable import PrettyTable

    cells = [[cell(text) for text in row] for row in rows]
    table = PrettyTable(
        [str(number) for number in range(len(cells[0]))],
        header=False,
        border=False,
        preserve_internal_border=True,
        break_on_hyphens=False,
        align="l",
        vertical_char=" ",
        horizontal_char="─",
        junction_char=" ",
    )
    table.left_padding_width = 0
    for number, row in enumerate(cells):
        table.add_row(row, divider=ruled and not number)
    return table


def _in_pieces(text: str, width: int) -> str:
    """Break words of thousands of characters where lines end: wcwidth would take quadratic time to wrap them."""
    if len(text) <= LONG or "\x1b" in text:
        return text
    return re.sub(rf"\S{{{max(1, LONG // width) * width}}}(?=\S)", "\\g<0>\n", text)


def _widths(table: PrettyTable) -> list[int]:
    """Return the widths of the columns as prettytable measures them: of the rules above a framed table."""
    top = table.get_string(border=True, right_padding_width=0).partition("\n")[0]
    return [len(rule) for rule in top[1:-1].split(" ")]
