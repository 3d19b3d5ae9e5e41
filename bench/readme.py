"""Report, README and picture from bench/results/peers.json: ``python -m bench.readme``; ``--check`` compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bench import picture
from bench.peers import figures, report
from bench.peers.catalog import LISTED, OURS
from bench.peers.figures import Row
from bench.sections import replaced, write_or_compare
from bench.stub import ROOT

RESULT: Final = ROOT / "bench" / "results" / "peers.json"
README: Final = ROOT / "README.md"
PICTURE: Final = ROOT / "docs" / "img" / "bench.svg"
BEGIN: Final = "<!-- bench: written by `python -m bench.readme` -->"
END: Final = "<!-- /bench -->"


def section(result: Mapping[str, Any]) -> str:
    """Write the section between the markers: the picture, and a line each on faults, price and speed."""
    rows, about = figures.rows(result), result["about"]
    ours = next(row for row in rows if row.key == OURS)
    others = [row for row in rows if row.judged and row.key != OURS]
    lines = ["![Faults, price and speed of jobclaim and its peers](docs/img/bench.svg)", ""]
    if ours.faults:
        passing = [row.title for row in others if row.passes]
        passed = sum(passed for passed, _ in ours.faults.values())
        lines.append(
            "- **Faults**: duplicate delivery, `kill -9` while a body runs, two equal submissions. jobclaim passes "
            f"{passed} of 3; of {len(others)} peers on SQS, {' and '.join(passing) or 'none'} "
            f"{'pass' if len(passing) > 1 else 'passes'} all."
        )
    if ours.numbers:
        lines += [_price(rows), _speed(rows, about)]
    lines += ["", report.features_table()]
    return "\n".join([*lines, "", "[All tables, the setting, and how to run it](bench/results/peers.md)."])


def _price(rows: Sequence[Row]) -> str:
    """Write the price by default, and that without the list of completed jobs, which is the one in the table."""
    numbers = {row.key: row.numbers for row in rows}
    without, by_default = numbers[OURS] or {}, numbers.get(LISTED)
    less = f"{without['write_units']:.2f} write units and ${without['dollars']:.2f} if completed jobs are not listed"
    if by_default is None:
        return f"- **Price**: {without['requests']:.2f} requests, {less}."
    return (
        f"- **Price**: {by_default['requests']:.2f} requests and {by_default['write_units']:.2f} write units a job, "
        f"${by_default['dollars']:.2f} per million jobs at list prices; {less}, as in the picture."
    )


def _speed(rows: Sequence[Row], about: Mapping[str, Any]) -> str:
    """Write the speed with and without latency, beside plain Celery's and the fastest peer's."""
    latency = about["latency_ms"]
    shown = f"at {latency['sqs']:g}/{latency['dynamodb']:g} ms (SQS/DynamoDB) with {about['processes']} processes on "
    shown += f"{about['cores']} cores{_beside(rows, 'per_second_with_latency')}"
    ours = {row.key: row.numbers or {} for row in rows}[OURS]
    return (
        f"- **Speed**: {ours['per_second_with_latency']:.0f} jobs/s {shown}. Without latency: "
        f"{ours['per_second']:.0f}{_beside(rows, 'per_second')}."
    )


def _beside(rows: Sequence[Row], name: str) -> str:
    plain, best = {row.key: row.numbers for row in rows}.get(figures.PLAIN), figures.fastest_peer(rows, name)
    shown = "" if plain is None else f"; Celery: {plain[name]:.0f}"
    if best is not None and best.numbers is not None and best.key != figures.PLAIN:
        shown += f"; the fastest peer on SQS, {best.title}: {best.numbers[name]:.0f}"
    return shown


def written(text: str, result: Mapping[str, Any]) -> str:
    """Return the README with its section rewritten.

    Raises
    ------
    ValueError
        The markers are missing.
    """
    return replaced(text, BEGIN, END, f"\n{section(result)}\n", name="README.md", what="benchmark")


def main() -> int:
    """Write or compare the README's section and the picture."""
    result = json.loads(RESULT.read_text())
    wanted = {
        README: written(README.read_text(), result),
        PICTURE: picture.draw(result),
        RESULT.with_suffix(".md"): report.markdown(result),
    }
    return write_or_compare(wanted, RESULT, "bench.readme")


if __name__ == "__main__":
    sys.exit(main())
