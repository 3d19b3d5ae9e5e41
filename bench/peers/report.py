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
Column = tuple[str, str, str]
COST: Sequence[Column] = (
    ("requests/job", "requests", "{:.2f}"),
    ("write units", "write_units", "{:.2f}"),
    ("$/million", "dollars", "{:.2f}"),
    ("$/million, one at a time", "dollars_singly", "{:.2f}"),
    ("jobs/s", "per_second", "{:.0f}"),
    ("jobs/s, {latency}", "per_second_with_latency", "{:.0f}"),
    ("jobs/s, {slow}", "per_second_slow_line", "{:.0f}"),
)
RESOURCES: Sequence[Column] = (
    ("CPU ms, submit", "submit_cpu_ms", "{:.2f}"),
    ("CPU ms, worker", "worker_cpu_ms", "{:.2f}"),
    ("CPU ms, worker, {latency}", "worker_cpu_ms_with_latency", "{:.2f}"),
    ("first job, s", "first_job_seconds", "{:.1f}"),
    ("start, CPU s", "start_cpu_seconds", "{:.1f}"),
    ("MB, a process", "child_mb", "{:.0f}"),
    ("MB, all", "all_mb", "{:.0f}"),
)
OF_AWS = ("requests", "write_units", "dollars", "dollars_singly")
"""Figures of SQS and DynamoDB, which a peer on another server lacks."""
READING = (
    "Medians, in parentheses the least and the greatest of the rounds. A backlog is drained, ten messages a poll; one "
    "at a time is the price of jobs that come singly, every {pause:g} ms, to a worker that waits. A job ends with the "
    "last request that it needs: with Celery, unless it acknowledges late, when it starts. Redis and PostgreSQL are "
    "billed by the hour; their answers take 1 ms longer where those of SQS and DynamoDB take {latency}."
)
READING_RESOURCES = (
    "First job: from the start of the worker's process to the end of a job that waits for it. MB: resident memory of "
    "the largest process but the first, and the proportional memory of all, after these jobs; with procrastinate and "
    "awa a small program of ours that starts their processes is in it."
)
ARITHMETIC = (
    "What cannot run here, by its list prices in us-east-1 and no measurement: a job of 1 KB whose body takes 10 ms in "
    "128 MB, without the free tier. The computing is in these prices; that of workers is in none of those above."
)
PRICED = (
    (
        "Lambda, an SQS trigger, Powertools idempotency",
        f"${0.48 + 2 * 0.625 + 0.1 * 0.20 + 1.25e3 * 16.67e-6:.2f}",
        "SQS 1.2 requests, DynamoDB 2 write units, 0.1 invocations at $0.20 a million, 1,250 GB-s at $0.00001667",
        "aws.amazon.com/lambda/pricing",
    ),
    (
        "Lambda durable functions, one step",
        f"${2 * 8 + 2 * 0.25 + 0.20 + 1.25e3 * 16.67e-6:.2f}",
        "2 durable operations, start and step, at $8.00 a million, 2 GB written at $0.25, one Lambda invocation",
        "aws.amazon.com/lambda/pricing",
    ),
    (
        "Step Functions, standard",
        f"${2 * 25 + 0.20 + 1.25e3 * 16.67e-6:.2f}",
        "2 state transitions at $0.025 a thousand, one Lambda invocation",
        "aws.amazon.com/step-functions/pricing",
    ),
    (
        "Step Functions, express",
        f"${1.00 + 0.20 + (6.25e3 + 1.25e3) * 16.67e-6:.2f}",
        "a request at $1.00 a million, 100 ms of 64 MB at $0.00001667 a GB-s, one Lambda invocation; at least once",
        "aws.amazon.com/step-functions/pricing",
    ),
)
PRICED_HEAD = ("", "a million jobs", "what is counted", "source")


def markdown(result: Mapping[str, Any]) -> str:
    """Write the whole report."""
    rows = figures.rows(result)
    parts = ["# jobclaim beside its peers", "", setting(result), "", "## Faults", "", faults_table(rows), ""]
    parts += ["## Durable work", "", "As shipped and documented; not measured.", "", features_table(), ""]
    if any(row.numbers for row in rows):
        reading = READING.format(latency=_latency(result["about"]), pause=1000 * figures.SINGLE_SECONDS)
        parts += ["## Cost and speed", "", numbers_table(result, rows, COST), "", reading, "", figures.PRICES, ""]
        resources = numbers_table(result, rows, RESOURCES)
        parts += ["## CPU, start and memory", "", resources, "", READING_RESOURCES, ""]
        parts += [
            "## By list price alone",
            "",
            ARITHMETIC,
            "",
            table(PRICED_HEAD, PRICED),
            "",
        ]
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
        f"{_latency(about)} added to each answer, those of Redis and PostgreSQL on their "
        "own servers; faults on DynamoDB Local and ElasticMQ, judged by the starts and ends that bodies note in a file."
        f"{_other_rounds(result)}"
    )


def _other_rounds(result: Mapping[str, Any]) -> str:
    """Name the peers that were not measured as often as the others."""
    counts = {one["title"]: len(one["rounds"]) for one in result["peers"].values()}
    others = [f"{title} {count}" for title, count in counts.items() if count != result["about"]["rounds"]]
    return f" Rounds of others: {', '.join(others)}." if others else ""


def faults_table(rows: Sequence[Row]) -> str:
    """Build the table of faults, with one row per tested peer."""
    shown = [
        [row.title, *(_fault(row, name) for name in FAULT_TITLES), "**yes**" if row.passes else "no"]
        for row in rows
        if row.judged
    ]
    return table(["", *FAULT_TITLES.values(), "all three"], shown)


def features_table() -> str:
    """Build the table of features for work that outlasts an attempt."""
    return table(["", *WHO], FEATURES)


def numbers_table(result: Mapping[str, Any], rows: Sequence[Row], columns: Sequence[Column]) -> str:
    """Build a table of figures, with one row per measured peer."""
    about = result["about"]
    slow = _shown(about.get("slow_line_ms", about["latency_ms"]))
    titles = [title.format(latency=_latency(about), slow=slow) for title, _, _ in columns]
    shown = []
    for row in rows:
        if row.numbers is None:
            continue
        shown.append([row.title, *(_cell(row, name, form) for _, name, form in columns)])
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


def _cell(row: Row, name: str, form: str) -> str:
    """Write a median and, where the rounds differ, their spread; empty for what was not measured."""
    value = (row.numbers or {}).get(name, 0.0)
    if name in OF_AWS and row.broker != "sqs":
        return row.beside if name == "dollars" else ""
    if name in (*figures.SINCE_LATER, "dollars_singly") and not value:
        return ""
    if name == "dollars" and row.beside:
        return f"{form.format(value)} + {row.beside}"
    least, most = (form.format(end) for end in row.spread.get(name, (value, value)))
    return form.format(value) + (f" ({least} to {most})" if least != most else "")


def _latency(about: Mapping[str, Any]) -> str:
    return _shown(about["latency_ms"])


def _shown(latency_ms: Mapping[str, float]) -> str:
    return f"{latency_ms['sqs']:g}/{latency_ms['dynamodb']:g} ms"


def _measured(result: Mapping[str, Any]) -> bool:
    return bool(result["peers"].get(OURS, {}).get("rounds"))
