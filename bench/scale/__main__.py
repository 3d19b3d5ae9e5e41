"""``python -m bench.scale``: print the tables of docs/scale.md, or write them into it (``--write``)."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.scale import idle
from bench.scale.paper import Load, cost_table, limits_table, shards_table
from bench.scale.passes import CASES, Case, passed, scaled_settings
from jobclaim.infra.cost import HOURS, READ_UNIT, WRITE_UNIT
from jobclaim.settings import Settings

DOCUMENT: Final = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
JOBS: Final = 100_000_000
LOAD: Final = Load()


def passes_table(cases: Sequence[Case] = CASES) -> str:
    """Return a recovery pass of each case, as a Markdown table."""
    settings = scaled_settings(LOAD.shards)
    head = ("requests", "read units", "write units", "seconds", "jobs handled", "per hour", "$/month")
    lines = [f"| {JOBS // 1_000_000} million jobs | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
    for case in cases:
        done = passed(case, JOBS, settings)
        interval = max(done.seconds, settings.recovery_interval_seconds)
        dollars = done.asked.read_units * READ_UNIT + done.asked.write_units * WRITE_UNIT
        row = (
            case.name,
            f"{sum(done.asked.requests.values()):,}",
            f"{done.asked.read_units:,.0f}",
            f"{done.asked.write_units:,}",
            f"{done.seconds:,.1f}",
            f"{done.acted:,}",
            f"{done.acted / interval * 3_600:,.0f}" if case.goes_on else "",
            f"{dollars / interval * 3_600 * HOURS:,.0f}" if case.goes_on else "",
        )
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Return all tables by the name of their marker in the document."""
    return {**paper_tables(), "passes": passes_table()}


def paper_tables() -> dict[str, str]:
    """Return those that no pass has to be made for."""
    return {
        "limits": limits_table(LOAD),
        "shards": shards_table(),
        "cost": cost_table(LOAD),
        "idle": idle.table(Settings()),
    }


def filled(text: str, parts: dict[str, str]) -> str:
    """Insert tables between their markers, ``<!-- name -->`` and ``<!-- /name -->``."""
    for name, table in parts.items():
        text = re.sub(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\g<1>{table}\n\g<2>", text, flags=re.DOTALL)
    return text


def main(arguments: list[str]) -> None:
    """Run the command line."""
    parts = tables()
    if arguments == ["--write"]:
        DOCUMENT.write_text(filled(DOCUMENT.read_text(), parts))
    else:
        sys.stdout.write("\n\n".join(parts.values()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
