"""What is unusual about a task's last runs, compared with its own week before. Pure.

The failure rate is judged as on a control chart for proportions: unusual is what lies above p + 3 sqrt(p (1 - p) / n),
where p is the rate of the week and n the number of runs (Shewhart 1931; NIST/SEMATECH e-Handbook of Statistical
Methods, 6.3.3.2, "Proportions control charts"). With few failures that limit means little, so there must be five at
least, the textbooks' bound for the normal approximation; and the rate must have doubled, because a rise from 1.0 % to
1.1 % requires no action however certain it is.

A duration is unusual if the median, or the 95th percentile, is twice that of the week: each of the two is read from a
histogram with at most 17 % error, so a factor of 1.42 could be due to the buckets alone. The 95th percentile of fewer
than 100 runs is one of the five longest, and is not judged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from jobclaim.fleet.statistics import DAY_HOURS, WEEK_DAYS, Figures, TaskRuns
from jobclaim.jobs.storage.statistics import HOUR_MS
from jobclaim.views.humane import clock_minute, percent, span

RECENT_HOURS: Final = 2
"""The current hour and the one before it, so that there is always more than an hour of runs to judge."""
FEWEST_RECENT: Final = 20
"""Fewest recent runs that are judged."""
FEWEST_OF_WEEK: Final = 100
"""Fewest runs of a week that they are compared with."""
FEWEST_FAILURES: Final = 5
SIGMAS: Final = 3.0
FACTOR: Final = 2.0
LEAST_RISE_MS: Final = 100
"""A rise by less is not reported, whatever its factor."""
FEWEST_FOR_P95: Final = 100


@dataclass(frozen=True, slots=True)
class Unusual:
    """Something unusual about a task.

    Attributes
    ----------
    what : str
        ``failures`` or ``duration``.
    text : str
        A sentence without the task's name.
    """

    task: str
    what: str
    text: str


def unusual(task: TaskRuns, now: int) -> list[Unusual]:
    """Return what is unusual about a task's last runs; nothing if there are too few of these, or in the week before."""
    first = now // HOUR_MS + 1 - RECENT_HOURS
    recent = task.between(first, first + RECENT_HOURS)
    week = task.between(first - WEEK_DAYS * DAY_HOURS, first)
    if recent.runs < FEWEST_RECENT or week.runs < FEWEST_OF_WEEK:
        return []
    since = f"since {clock_minute(first * HOUR_MS)} UTC"
    found = [("failures", failing(recent, week, since)), ("duration", slow(recent, week, since))]
    return [Unusual(task.task, what, text) for what, text in found if text]


def failing(recent: Figures, week: Figures, since: str) -> str:
    """Describe an unusual failure rate; empty if it is usual."""
    rate, usual = recent.failures / recent.runs, week.failures / week.runs
    limit = usual + SIGMAS * math.sqrt(usual * (1 - usual) / recent.runs)
    if recent.failures < FEWEST_FAILURES or rate <= limit or rate < FACTOR * usual:
        return ""
    return f"fails {percent(rate)} of its {recent.runs} runs {since}; {percent(usual)} over the week before"


def slow(recent: Figures, week: Figures, since: str) -> str:
    """Describe unusual durations; empty if they are usual."""
    for share, part, fewest in ((0.5, "half of", FEWEST_RECENT), (0.95, "5 % of", FEWEST_FOR_P95)):
        took, usual = recent.duration(share), week.duration(share)
        counted = min(sum(recent.durations.values()), sum(week.durations.values()))
        if took is None or usual is None or counted < fewest:
            continue
        if took >= FACTOR * usual and took - usual >= LEAST_RISE_MS:
            return f"{part} its runs take more than {span(took)} {since}; {span(usual)} over the week before"
    return ""
