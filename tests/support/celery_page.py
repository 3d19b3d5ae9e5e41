"""``docs/celery.md`` read as tables: sections, and their rows by the first name in them."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "celery.md"
CELLS = re.compile(r"(?<!\\)\|")


def sections() -> dict[str, str]:
    """The text of each section, by its heading up to a colon or a comma."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return {_short(heading): text for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


def section(name: str) -> str:
    """The text of one."""
    return sections()[name]


def rows() -> dict[str, dict[str, str]]:
    """The verdict of each row, by section and the first name of its first cell; empty in tables that judge nothing."""
    found: dict[str, dict[str, str]] = {}
    for name, text in sections().items():
        table = [cells for line in text.splitlines() if len(cells := _cells(line)) == 3]
        heads = [n for n, cells in enumerate(table) if set(cells[1]) <= {"-"} and cells[1]]
        for n, cells in enumerate(table):
            if n not in heads and n + 1 not in heads:
                judged = not table[max(head for head in heads if head < n) - 1][1]
                found.setdefault(name, {})[cells[0].split(",")[0]] = cells[1] if judged else ""
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in CELLS.split(line)[1:-1]]


def _short(heading: str) -> str:
    return re.split(r"[:,]", heading)[0].replace("`", "").strip()
