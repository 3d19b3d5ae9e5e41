"""All choices, depth first. A state is left by each of its options once; a run is repeated up to where it branches."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import click
import structlog

from tests.simulation.exhaustive.equal import digest
from tests.simulation.exhaustive.play import Option, Play, SeenBefore, Small
from tests.simulation.world import Broken

Due = list[list[list[int]]]
"""Choices to follow, by the number of faults in them, the fewest first.

So a state that is reached again has been left with as many faults still to come, or with more."""
PROGRESS: Final = 5_000
"""Schedules between two lines of progress."""


@dataclass
class Found:
    """What a search has come across.

    Attributes
    ----------
    schedules : int
        Runs: orders of events that differ in more than the order of what cannot be told apart.
    states : int
        Points of choice, and ends, that differ.
    broken : list of str
        Promises that were broken, each with the choices that lead there.
    complete : bool
        Whether everything was explored.
    seconds : float
        Of the processor's time.
    """

    schedules: int = 0
    states: int = 0
    steps: int = 0
    broken: list[str] = field(default_factory=list)
    complete: bool = True
    seconds: float = 0.0


def explore(small: Small, *, seconds: float | None = None, most_broken: int = 3, kind: type[Play] = Play) -> Found:
    """Explore a small world, for so many seconds at most."""
    gc.freeze()
    found, seen, began = Found(), set[bytes](), time.monotonic()
    used = time.process_time()
    due: Due = [[[]], *([] for _ in range(small.faults))]
    logging_before = structlog.get_config()
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent, processors=[], cache_logger_on_first_use=False)
    try:
        while any(due) and len(found.broken) < most_broken:
            if seconds is not None and time.monotonic() - began > seconds:
                found.complete = False
                break
            _follow(kind, small, next(filter(None, due)).pop(), seen, due, found)
            if found.schedules % PROGRESS == 0:
                left = sum(map(len, due))
                click.echo(f"{found.schedules:,} schedules, {len(seen):,} states, {left:,} to follow", err=True)
    finally:
        structlog.configure(**logging_before)
    found.states, found.seconds = len(seen), time.process_time() - used
    return found


def _follow(kind: type[Play], small: Small, path: list[int], seen: set[bytes], due: Due, found: Found) -> None:
    taken: list[int] = []

    def choose(state: Callable[[], str], options: list[Option]) -> int:
        at = len(taken)
        if at < len(path):
            taken.append(path[at])
            return path[at]
        if (reached := digest(state())) in seen:
            raise SeenBefore
        seen.add(reached)
        for number in range(len(options) - 1, 0, -1):
            due[play.struck + options[number].fault].append([*taken, number])
        taken.append(0)
        return 0

    play = kind(small, choose)
    try:
        play.run()
    except SeenBefore:
        pass
    except Broken as broken:
        found.broken.append(f"{broken}\n  " + "\n  ".join(play.choices))
    except Exception as error:  # noqa: BLE001 - the code under test may raise anything, and must not
        found.broken.append(f"{error!r}\n  " + "\n  ".join(play.choices))
    found.schedules += 1
    found.steps += play.steps
