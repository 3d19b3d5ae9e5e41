"""The entry point. `jobclaim --help` is answered without click, whose import alone takes five times Python's own start.

What it prints is what click would; a test holds the two to each other.
"""

from __future__ import annotations

import os
import sys

from cli.catalog import EPILOG, OPTIONS, SECTIONS, TEXT

WIDEST = 110
NARROWEST = 50


def main() -> None:
    """Run the command line; never returns."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        sys.stdout.write(help_page(_columns()))
        sys.exit(0)
    from cli.main import jobclaim

    jobclaim(prog_name="jobclaim")


def help_page(columns: int) -> str:
    """Write the group's help for a terminal of so many columns."""
    width = max(min(columns, WIDEST) - 2, NARROWEST)
    lines = ["Usage: jobclaim [OPTIONS] COMMAND [ARGS]...", ""]
    lines += [f"  {line}" for line in _wrapped(TEXT, width - 2)]
    for title, rows in (("Options", OPTIONS), *((section.title, section.commands) for section in SECTIONS)):
        lines += ["", f"{title}:", *_definitions(rows, width)]
    lines += ["", *(f"  {line}" if line else "" for line in EPILOG)]
    return "\n".join(lines) + "\n"


def _definitions(rows: dict[str, str], width: int) -> list[str]:
    first = max(len(name) for name in rows) + 2
    lines = []
    for name, text in rows.items():
        head, *rest = _wrapped(text, max(width - first - 2, 10))
        lines += [f"  {name:<{first}}{head}", *(" " * (first + 2) + line for line in rest)]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _columns() -> int:
    try:
        return int(os.environ.get("COLUMNS", "")) or 80
    except ValueError:
        pass
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns if sys.__stdout__ else 80
    except (OSError, ValueError):
        return 80
