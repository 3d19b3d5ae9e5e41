"""The report of a run: its figures, its summary, and all of it as Markdown."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobclaim import JobStatus
from jobclaim.verify.checks import CheckResult, Evidence

Rows = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a run in addition to the evidence.

    Attributes
    ----------
    without_target : int
        Faults that found no target, because all processes had been hit already.
    injected_requests : mapping
        Requests with an injected fault, by service and fault; refused connections are not counted.
    event_counts : mapping
        Log lines, by what they report.
    requests : mapping
        Requests that were passed on, by service and operation.
    """

    seed: int
    minutes: float
    drained_in: float
    without_target: int
    injected_requests: Mapping[str, int]
    event_counts: Mapping[str, int]
    requests: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its rows."""

    title: str
    rows: Rows


def sections(evidence: Evidence, figures: Figures) -> list[Section]:
    """Put the run's figures into tables."""
    return [
        Section("Jobs by outcome", _ends(evidence)),
        Section("Attempts", _attempts(evidence)),
        Section("What was refused and recovered", _refused_and_recovered(evidence, figures.event_counts)),
        Section("Injected faults", [*_counts(evidence.injected), ("found no target", f"{figures.without_target:,}")]),
        Section("Requests with an injected fault", _counts(figures.injected_requests)),
        Section("Requests", [*_counts(figures.requests), _per_job(evidence, figures.requests)]),
    ]


def summary(evidence: Evidence, figures: Figures, results: Sequence[CheckResult]) -> str:
    """Summarize the run in one line."""
    broken = sum(result.state == "broken" for result in results)
    untested = sum(result.state == "untested" for result in results)
    end = f"{len(results) - broken - untested} promises held, {broken} broken, {untested} not tested."
    return (
        f"Seed {figures.seed}: {len(evidence.by_id):,} jobs in {figures.minutes:.1f} minutes of faults, "
        f"{sum(evidence.injected.values()):,} faults injected, "
        f"{sum(figures.injected_requests.values()):,} requests with a fault; "
        f"everything was drained {figures.drained_in:.0f} s after the last fault. {end}"
    )


def records(results: Iterable[CheckResult]) -> list[dict[str, Any]]:
    """Return the promises as JSON records."""
    return [
        {
            "check": result.code,
            "promise": result.name,
            "tested": result.tested,
            "state": result.state,
            "broken_by": list(result.violations),
        }
        for result in results
    ]


def markdown(evidence: Evidence, figures: Figures, results: list[CheckResult], command: str) -> str:
    """Return the report as a Markdown page."""
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores."
    lines = ["# The guarantees, tested from outside", "", f"`{command}`", ""]
    lines += [f"{summary(evidence, figures, results)} {machine}", ""]
    lines += ["| promise | check | times tested | | broken by |", "|---|---|---:|---|---|"]
    lines += [
        f"| {result.name} | `{result.code}` | {result.tested:,} | {result.state} | {result.finding()} |"
        for result in results
    ]
    for section in sections(evidence, figures):
        lines += ["", f"## {section.title}", "", "| | |", "|---|---:|"]
        lines += [f"| {name} | {count} |" for name, count in section.rows]
    return "\n".join(lines) + "\n"


def _ends(evidence: Evidence) -> Rows:
    ends: Counter[tuple[str, str]] = Counter()
    for accepted, job in evidence.known:
        kind = f" ({job.failure.kind})" if job.status is JobStatus.FAILED and job.failure else ""
        ends[accepted.task, f"{job.status}{kind}"] += 1
    totals: Counter[str] = Counter()
    for (_, end), count in ends.items():
        totals[end] += count
    rows = [(end, f"{count:,}") for end, count in totals.most_common()]
    return rows + [(f"  {task}: {end}", f"{count:,}") for (task, end), count in sorted(ends.items())]


def _attempts(evidence: Evidence) -> Rows:
    by_number = Counter(start.attempt for start in evidence.starts)
    per_attempt = Counter((start.job_id, start.attempt) for start in evidence.starts)
    return [
        ("claims", f"{sum(job.attempt for job in evidence.jobs.values()):,}"),
        ("bodies started", f"{len(evidence.starts):,}"),
        *[(f"  in attempt {number}", f"{count:,}") for number, count in sorted(by_number.items())],
        ("most bodies in one attempt", str(max(per_attempt.values(), default=0))),
    ]


def _refused_and_recovered(evidence: Evidence, event_counts: Mapping[str, int]) -> Rows:
    ended: Counter[str] = Counter()
    for job in evidence.jobs.values():
        ended.update(f"attempts ended by {attempt.outcome}" for attempt in job.history)
    return _counts(event_counts) + _counts(ended)


def _counts(counts: Mapping[str, int]) -> Rows:
    return [(name, f"{count:,}") for name, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _per_job(evidence: Evidence, requests: Mapping[str, int]) -> tuple[str, str]:
    return "per job", f"{sum(requests.values()) / max(1, len(evidence.by_id)):.2f}"
