"""Figures from the measurements: medians, dollars, ratios and whether targets are met. No I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.peers.catalog import LISTED, OURS
from jobclaim.infra.cost import READ_UNIT, SQS_REQUEST, WRITE_UNIT

MILLION: Final = 1_000_000
SINGLE_SECONDS: Final = 0.05
"""Time between jobs that come one at a time."""
FAULTS: Final = ("duplicate", "crash", "equal")
PLAIN: Final = "celery"
BESIDE: Final = {"Celery, tuned": (OURS, "celery-tuned"), "over TLS": ("jobclaim-tls", "celery-tls")}
"""Ratios that are shown beside those to Celery's defaults, which the targets are about."""
PRICES: Final = (
    f"List prices of us-east-1 without the free tier: SQS ${SQS_REQUEST * MILLION:.2f} per million requests "
    f"(aws.amazon.com/sqs/pricing, standard queues), DynamoDB on demand ${WRITE_UNIT * MILLION:.3f} per million write "
    f"and ${READ_UNIT * MILLION:.3f} per million read units (aws.amazon.com/dynamodb/pricing/on-demand, since "
    "November 2024)."
)
MEDIANS: Final = (
    "per_second",
    "per_second_with_latency",
    "write_units",
    "read_units",
    "submit_cpu_ms",
    "worker_cpu_ms",
    "worker_cpu_ms_with_latency",
)
SINCE_LATER: Final = ("per_second_slow_line", "first_job_seconds", "start_cpu_seconds", "child_mb", "all_mb")
"""Figures that not every row has."""


@dataclass(frozen=True, slots=True)
class Row:
    """One peer's figures, medians over its rounds; ``None`` if not measured.

    Attributes
    ----------
    numbers : dict or None
        By the names of `MEDIANS`, and ``requests``, ``dollars`` and, where it was counted, ``dollars_singly`` (per
        million jobs, what is billed beside SQS and DynamoDB not in it).
    spread : dict
        By name, the least and the greatest of the rounds.
    faults : dict
        By fault, whether it passed and what happened.
    judged : bool
        Whether the faults were tried with this peer, not with one that behaves the same.
    """

    key: str
    title: str
    note: str
    beside: str
    broker: str
    numbers: dict[str, float] | None
    spread: dict[str, tuple[float, float]]
    faults: dict[str, tuple[bool, str]]
    judged: bool

    @property
    def passes(self) -> bool:
        """Return whether all three faults are passed."""
        return bool(self.faults) and all(passed for passed, _ in self.faults.values())


def rows(result: Mapping[str, Any]) -> list[Row]:
    """Return the table's rows, in its order."""
    return [_row(key, peer) for key, peer in result["peers"].items()]


def _row(key: str, peer: Mapping[str, Any]) -> Row:
    measured = peer["rounds"]
    numbers, spread = None, {}
    if measured:
        each = {name: [one.get(name, 0.0) for one in measured] for name in (*MEDIANS, *SINCE_LATER)}
        numbers = {name: statistics.median(values) for name, values in each.items()}
        spread = {name: (min(values), max(values)) for name, values in each.items()}
        numbers["requests"] = statistics.median(sum(one["requests"].values()) for one in measured)
        numbers["dollars"] = statistics.median(dollars(one) for one in measured)
        numbers["dollars_singly"] = next((dollars(one["singly"]) for one in measured if one.get("singly")), 0.0)
    faults = {name: (one["passed"], one["what"]) for name, one in peer["faults"].items()}
    judged = bool(faults) and peer["behaves_as"] is None
    return Row(key, peer["title"], peer["note"], peer["beside"], peer["broker"], numbers, spread, faults, judged)


def dollars(one: Mapping[str, Any]) -> float:
    """Return the price of a million jobs of one round: requests to SQS, write and read units."""
    sqs = sum(count for name, count in one["requests"].items() if is_sqs(name))
    return MILLION * float(sqs * SQS_REQUEST + one["write_units"] * WRITE_UNIT + one["read_units"] * READ_UNIT)


def is_sqs(operation: str) -> bool:
    """Return whether a counted request is one of SQS; those of DynamoDB name their table."""
    return " " not in operation


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the price of a million of our jobs, and its purpose."""

    what: str
    amount: str
    dollars: float
    buys: str


def cents(result: Mapping[str, Any]) -> list[Share]:
    """Split the price of our jobs into parts, most expensive first; apart from rounding they add up to it."""
    measured = result["peers"][OURS]["rounds"]
    one = sorted(measured, key=dollars)[len(measured) // 2]
    shares = [
        _write(
            one, "jobclaim-jobs write table", "created, claimed, ended: arguments, the claim and the result are kept"
        ),
        _write(one, "jobclaim-jobs write index", "found by state: what was lost is found, dashboards list it"),
        _write(one, "jobclaim-fleet write table", "heartbeats: a dead worker is noticed in a minute"),
    ]
    reads = sum(units for name, units in one["units"].items() if " read " in name)
    shares.append(
        Share("DynamoDB reads", f"{reads:.3f} read units", reads * READ_UNIT * MILLION, "commands to workers")
    )
    for name, buys in (
        ("SendMessage", "a worker gets the job at once"),
        ("ReceiveMessage", "up to ten jobs a poll"),
        ("DeleteMessageBatch", "up to ten jobs a delete"),
    ):
        count = one["requests"].get(name, 0.0)
        shares.append(Share(f"SQS {name}", f"{count:.3f} requests", count * SQS_REQUEST * MILLION, buys))
    rest = dollars(one) - sum(share.dollars for share in shares)
    shares.append(Share("the rest", "", rest, "looking up queues"))
    return sorted((share for share in shares if share.dollars >= 0.0005), key=lambda share: -share.dollars)


def _write(one: Mapping[str, Any], name: str, buys: str) -> Share:
    units = one["units"].get(name, 0.0)
    table, _, part = name.partition(" write ")
    shown = f"DynamoDB {table}" + (", its index" if part == "index" else "")
    return Share(shown, f"{units:.3f} write units", units * WRITE_UNIT * MILLION, buys)


@dataclass(frozen=True, slots=True)
class Aim:
    """A target, and the measured value."""

    what: str
    measured: str
    met: bool


def aims(result: Mapping[str, Any]) -> list[Aim]:
    """Compare our figures with the targets; leave out targets that were not measured."""
    by_key = {row.key: row for row in rows(result)}
    ours, plain = by_key.get(OURS), by_key.get(PLAIN)
    found = []
    if ours and ours.faults:
        found.append(Aim("passes all three faults", _count(ours), ours.passes))
        others = [row for row in by_key.values() if row.faults and not row.key.startswith(OURS)]
        best = max(others, key=lambda row: sum(passed for passed, _ in row.faults.values()), default=None)
        if best is not None:
            found.append(Aim("no peer does", f"the best: {best.title}, {_count(best)}", not best.passes))
    for key, name, most, what in (
        (OURS, "requests", 4.5, "requests per job"),
        ("jobclaim-bulk", "requests", 3.6, "requests per job, bulk"),
        (OURS, "write_units", 5.05, "write units per job, 5 when completed jobs are not listed"),
        (LISTED, "write_units", 6.05, "write units per job, 6 when completed jobs are listed"),
        (OURS, "dollars", 4.0, "dollars per million jobs, completed jobs not listed"),
    ):
        if key in by_key and (numbers := by_key[key].numbers):
            shown = what if "write" in what else f"{what} ≤ {most:g}"
            found.append(Aim(shown, f"{numbers[name]:.2f}", numbers[name] <= most))
    if ours and plain and ours.numbers and plain.numbers:
        found += _ratios(result) + _alone(result, by_key)
    return found


def _ratios(result: Mapping[str, Any]) -> list[Aim]:
    found = []
    for name, most, what in (
        ("per_second_with_latency", -8.0, "jobs/s with latency at least 8 times plain Celery's"),
        ("worker_cpu_ms", 0.8, "worker CPU per job at most 0.8 times plain Celery's"),
        ("worker_cpu_ms_with_latency", 0.8, "worker CPU per job, with latency, at most 0.8 times plain Celery's"),
        ("submit_cpu_ms", 0.7, "submit CPU per job at most 0.7 times plain Celery's"),
        ("first_job_seconds", 1.3, "first job within 1.3 times plain Celery's time"),
    ):
        if each := ratios(result, name):
            value = statistics.median(each)
            shown = f"{value:.2f} times ({min(each):.2f} to {max(each):.2f})"
            for beside, keys in BESIDE.items():
                if others := ratios(result, name, *keys):
                    shown += f"; {beside}: {statistics.median(others):.2f}"
            found.append(Aim(what, shown, value >= -most if most < 0 else value <= most))
    return found


def _alone(result: Mapping[str, Any], by_key: Mapping[str, Row]) -> list[Aim]:
    """Compare speed with the fastest peer on SQS and with what a slow line allows, and memory with its limit."""
    numbers, about, found = by_key[OURS].numbers or {}, result["about"], []
    best = fastest_peer(list(by_key.values()))
    if best is not None and best.numbers is not None:
        mine, theirs = (one["per_second_with_latency"] for one in (numbers, best.numbers))
        shown = f"{mine:.0f} jobs/s, {best.title} {theirs:.0f}"
        found.append(Aim("jobs/s with latency: first of all on SQS", shown, mine >= theirs))
    if slow := numbers["per_second_slow_line"]:
        bound = about["processes"] * 1000 / (2 * about["slow_line_ms"]["dynamodb"])
        what = "jobs/s over the slow line at least 80% of what two requests a job allow"
        shown = f"{slow:.1f} of {bound:.0f}; a process waits for one of them, which allows {2 * bound:.0f}"
        found.append(Aim(what, shown, slow >= 0.8 * bound))
    if child := numbers["child_mb"]:
        shown = f"{child:.0f} MB after {2 * about['jobs']:,} jobs"
        if (tls := by_key.get("jobclaim-tls")) and tls.numbers:
            shown += f"; over TLS: {tls.numbers['child_mb']:.0f} MB"
        found.append(Aim("resident memory of a process ≤ 60 MB", shown, child <= 60))
    return found


def fastest_peer(rows: Sequence[Row], name: str = "per_second_with_latency") -> Row | None:
    """Return the peer on SQS that does most jobs a second."""
    others = [row for row in rows if row.numbers and row.broker == "sqs" and not row.key.startswith(OURS)]
    return max(others, key=lambda row: (row.numbers or {})[name], default=None)


def ratios(result: Mapping[str, Any], name: str, ours: str = OURS, plain: str = PLAIN) -> list[float]:
    """Return the ratios of our figure to plain Celery's, one a round; none if not measured."""
    left, right = (result["peers"].get(key, {"rounds": []})["rounds"] for key in (ours, plain))
    pairs = [(one.get(name), other.get(name)) for one, other in zip(left, right, strict=False)]
    return [one / other for one, other in pairs] if all(map(all, pairs)) else []


def _count(row: Row) -> str:
    return f"{sum(passed for passed, _ in row.faults.values())} of {len(FAULTS)}"
