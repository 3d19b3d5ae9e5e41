"""The measurements as Markdown: the table, the targets, the breakdown of the price. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.peers import figures
from bench.peers.catalog import OURS
from bench.peers.features import FEATURES, WHO
from bench.peers.figures import Row

FAULT_TITLES = {
    "duplicate": "one message delivered thrice",
    "crash": "kill -9 while a body runs",
    "equal": "two equal submissions",
}
NUMBERS = (
    ("requests/job", "requests", "{:.2f}"),
    ("write units", "write_units", "{:.2f}"),
    ("$/million", "dollars", "{:.2f}"),
    ("jobs/s", "per_second", "{:.0f}"),
    ("jobs/s, {latency}", "per_second_with_latency", "{:.0f}"),
    ("CPU ms, submit", "submit_cpu_ms", "{:.2f}"),
    ("CPU ms, worker", "worker_cpu_ms", "{:.2f}"),
    ("CPU ms, worker, {latency}", "worker_cpu_ms_with_latency", "{:.2f}"),
)


def markdown(result: Mapping[str, Any]) -> str:
    """Write the whole report."""
    rows = figures.rows(result)
    parts = ["# jobclaim beside its peers", "", setting(result), "", "## Faults", "", faults_table(rows), ""]
    parts += ["## Durable work", "", "As shipped and documented; not measured.", "", features_table(), ""]
    if any(row.numbers for row in rows):
        parts += ["## Cost and speed", "", numbers_table(result, rows), "", figures.PRICES, ""]
    if _measured(result):
        parts += ["## What each cent buys", "", cents_table(result), ""]
    if aims := figures.aims(result):
        lines = [[aim.what, aim.measured, "yes" if aim.met else "**no**"] for aim in aims]
        parts += ["## Aims", "", table(["aim", "measured", "met"], lines), ""]
    notes = [f"- {row.title}: {row.note}" for row in rows if row.note]
    if notes:
        parts += ["## As they are", "", *notes, ""]
    if _measured(result):
        parts += ["## Requests per job", "", requests_table(rows, result), ""]
    return "\n".join(parts)


def setting(result: Mapping[str, Any]) -> str:
    """Describe where and how it was measured."""
    about = result["about"]
    return (
        f"`python -m bench.peers`, {about['date']}: {about['jobs']:,} no-op jobs, concurrency {about['processes']}, "
        f"{about['rounds']} rounds by turns, medians; Python {about['python']}, {about['cores']} cores, load "
        f"{about['load_before']} before. Speed and cost on the metering stub of `bench/stub_aws`, without and with "
        f"{_latency(about)} added to each answer; faults on DynamoDB Local and ElasticMQ, judged by the starts "
        "and ends that bodies note in a file."
    )


def faults_table(rows: Sequence[Row]) -> str:
    """Build the table of faults, with one row per tested peer."""
    shown = [
        [row.title, *(_fault(row, name) for name in FAULT_TITLES), "**yes**" if row.passes else "no"]
        for row in rows
        if row.faults and row.key not in ("jobclaim-bulk", "jobclaim-listed")
    ]
    return table(["", *FAULT_TITLES.values(), "all three"], shown)


def features_table() -> str:
    """Build the table of features for work that outlasts an attempt."""
    return table(["", *WHO], FEATURES)


def numbers_table(result: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Build the table of figures, with one row per measured peer."""
    titles = [title.format(latency=_latency(result["about"])) for title, _, _ in NUMBERS]
    shown = []
    for row in rows:
        if row.numbers is None:
            continue
        cells = [form.format(row.numbers[name]) for _, name, form in NUMBERS]
        cells[2] += " + Redis" if row.redis else ""
        shown.append([row.title, *cells])
    return table(["", *titles], shown)


def cents_table(result: Mapping[str, Any]) -> str:
    """Build the breakdown of our price."""
    shares = figures.cents(result)
    lines = [[share.what, share.amount, f"${share.dollars:.2f}", share.buys] for share in shares]
    lines.append(["**a million jobs**", "", f"**${sum(share.dollars for share in shares):.2f}**", ""])
    return table(["", "per job", "per million jobs", "buys"], lines)


def requests_table(rows: Sequence[Row], result: Mapping[str, Any]) -> str:
    """Build the table of each peer's requests by operation, of its last round."""
    lines = []
    for row in rows:
        rounds = result["peers"][row.key]["rounds"]
        if rounds:
            counted = sorted(rounds[-1]["requests"].items(), key=lambda pair: -pair[1])
            lines.append([row.title, ", ".join(f"{name} {count:.2f}" for name, count in counted if count >= 0.005)])
    return table(["", "with latency"], lines)


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table."""
    head = list(head)
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _fault(row: Row, name: str) -> str:
    if name not in row.faults:
        return ""
    passed, what = row.faults[name]
    return f"{'✓' if passed else '✗'} {what}"


def _latency(about: Mapping[str, Any]) -> str:
    return f"{about['latency_ms']['sqs']:g}/{about['latency_ms']['dynamodb']:g} ms"


def _measured(result: Mapping[str, Any]) -> bool:
    return bool(result["peers"].get(OURS, {}).get("rounds"))
