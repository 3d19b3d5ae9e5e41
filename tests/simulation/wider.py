"""What only a dimension notices: code broken in a way that the same seeds do not see without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from unittest.mock import patch

import jobclaim.jobs.repo.claiming
import jobclaim.jobs.storage.resilience
import jobclaim.jobs.storage.table
import jobclaim.jobs.storage.together
import jobclaim.recovery.decide
import jobclaim.recovery.handling
import jobclaim.workers.cancel
from jobclaim.fleet.breaker import Breakers
from jobclaim.fleet.limits import FleetLimits
from jobclaim.jobs.encoding.item import from_item
from jobclaim.jobs.errors import StoreUnavailable
from jobclaim.jobs.protocol import lifecycle
from jobclaim.jobs.storage.reads import Jobs
from jobclaim.jobs.storage.table import JobTable
from jobclaim.recovery.sweeping import _Pass
from jobclaim.workers.attempt import admission
from jobclaim.workers.process import unreported
from tests.simulation.run import Outcome, run
from tests.simulation.scenario import SECOND, Scenario

SEEDS: Final = 60


@dataclass(frozen=True, slots=True)
class WiderMutant:
    """A way of breaking the code, and the dimension without which nothing notices it.

    Attributes
    ----------
    changes : mapping
        What else the runs have, or have not.
    likely : tuple of int
        Seeds that have noticed it, tried first.
    """

    name: str
    dimension: str
    apply: Callable[[], AbstractContextManager[Any]]
    changes: Mapping[str, Any] = field(default_factory=dict)
    likely: tuple[int, ...] = ()

    def scenario(self, seed: int, *, wider: bool) -> Scenario:
        """Give a run with the dimension, or the same one without it."""
        found = replace(Scenario.plain(seed), **self.changes)
        return found.within(frozenset({self.dimension})) if wider else found

    def hunt(self, *, wider: bool, seeds: int = SEEDS) -> Outcome | None:
        """Run seeds until one notices."""
        with self.apply():
            numbers = dict.fromkeys((*self.likely, *range(seeds)))
            outcomes = (run(self.scenario(number, wider=wider)) for number in numbers)
            return next((outcome for outcome in outcomes if outcome.rule), None)


def _patched(where: Any, name: str, value: Any) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: patch.object(where, name, value)


def _batch_in_one_answer(self: JobTable, keys: list[Any], consistent: bool) -> list[Any]:
    """Take keys that were left unread for an outage."""
    answer = self._ask_client("batch_get_item", {"RequestItems": {self.name: {"Keys": keys}}})
    if answer["UnprocessedKeys"]:
        raise StoreUnavailable("keys were left unread")
    found: list[Any] = answer["Responses"].get(self.name, [])
    return found


def _kept_for_its_retention(job: Any, result: Any, now: int, retention: Any, **window: Any) -> Any:
    done = COMPLETED(job, result, now, retention, **window)
    return replace(done, expires_at=-(-(now + retention.completed) // 1000))


COMPLETED: Final = lifecycle.completed


def _strict(self: Jobs, item: Any) -> None:
    job = from_item(item)
    self[job.job_id] = job


def _unread(self: Any, written: Any) -> Any:
    return written


PARTITIONS: Final = _Pass._partitions


def _first_queue(self: _Pass) -> list[tuple[str, str]]:
    return [(queue, partition) for queue, partition in PARTITIONS(self) if queue != SECOND]


def _alone() -> tuple[str, Any]:
    """Leave the caller's writes out of a completion's transaction."""
    return "write_together", lambda table, planned, _, until=None: TOGETHER(table, planned, (), until=until)


TOGETHER: Final = jobclaim.jobs.storage.together.write_together
CROWD: Final = {"submitters": 6, "dense": False, "rates": {"lost-message": 0.6, "send-failure": 0.5}}
"""Many jobs that only recovery can help."""
BUSY: Final = {"submitters": 8, "theme": "letters", "workers": 1}
"""Many short bodies."""
WIDER: Final = (
    WiderMutant("recovery forgets a queue", "queues", _patched(_Pass, "_partitions", _first_queue), likely=(15,)),
    WiderMutant(
        "keys that were left unread are taken for an outage",
        "short",
        _patched(JobTable, "_batch", _batch_in_one_answer),
        CROWD,
    ),
    WiderMutant(
        "refused access throws finished work away",
        "refusals",
        _patched(jobclaim.jobs.storage.resilience, "may_pass", jobclaim.jobs.storage.resilience.is_transient),
        likely=(43,),
    ),
    WiderMutant(
        "a result is kept for its retention only",
        "ttl",
        _patched(lifecycle, "completed", _kept_for_its_retention),
        likely=(11,),
    ),
    WiderMutant(
        "what SQS has forgotten is not sent again",
        "retention",
        _patched(jobclaim.recovery.decide, "_decide_waiting", lambda *_: None),
        {"rates": {}, "far": False, "strangers": False},
    ),
    WiderMutant("an item that is not understood ends a pass", "releases", _patched(Jobs, "add", _strict)),
    WiderMutant("a completion loses its effects", "effects", _patched(jobclaim.jobs.storage.table, *_alone())),
    WiderMutant(
        "a body gets the mark of its payload item",
        "beside",
        _patched(jobclaim.jobs.repo.claiming.Claiming, "_with_payload", _unread),
    ),
    WiderMutant(
        "a body gets the mark in its payload's place",
        "large",
        _patched(jobclaim.jobs.repo.claiming.Claiming, "_with_payload", _unread),
    ),
    WiderMutant(
        "a concurrency key counts nobody", "limits", _patched(FleetLimits, "enter", lambda *_: True), likely=(17,)
    ),
    WiderMutant("every job starts at once", "limits", _patched(admission, "ask", lambda *_: None)),
    WiderMutant("a start is granted after its lease", "limits", _patched(admission, "_granted", lambda *_: None)),
    WiderMutant("a breaker never opens", "breaker", _patched(Breakers, "ask", lambda *_: 0), BUSY, likely=(15,)),
    WiderMutant(
        "a lost child is nobody's", "children", _patched(unreported, "_is_mine", lambda *_: False), likely=(18,)
    ),
    WiderMutant(
        "a cancel is answered and not written",
        "cancels",
        _patched(jobclaim.workers.cancel, "_cancel_waiting", lambda *_: jobclaim.workers.cancel.Answer.CANCELLED),
    ),
)
