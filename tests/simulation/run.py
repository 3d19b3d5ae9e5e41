"""Running a scenario to its end, and shrinking one that fails."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from unittest.mock import patch

import structlog

from jobclaim.jobs.encoding import schema
from tests.simulation.actors.main_process import simulated
from tests.simulation.actors.person import meddle
from tests.simulation.actors.recovery import recover
from tests.simulation.actors.releases import plant
from tests.simulation.actors.stage import Stage
from tests.simulation.actors.submitter import submit
from tests.simulation.actors.ttl import delete_expired
from tests.simulation.actors.worker import Worker
from tests.simulation.client import BY_STATE
from tests.simulation.dynamodb import Database
from tests.simulation.faults import Faults
from tests.simulation.judge.effects import LEDGER
from tests.simulation.judge.oracle import Oracle
from tests.simulation.line import Shared
from tests.simulation.queues import Queue
from tests.simulation.scenario import FAULTY_MS, LAG_MS, MESSAGE_MS, SWEEPS, TICK_MS, Scenario, simulated_settings
from tests.simulation.world import Broken, World


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run went.

    Attributes
    ----------
    rule : str
        The promise that was broken; empty for none.
    """

    scenario: Scenario
    rule: str = ""
    what: str = ""
    jobs: int = 0
    bodies: int = 0
    sweeps: int = 0
    writes: int = 0
    trace: tuple[str, ...] = ()


def run(scenario: Scenario, *, traced: bool = False) -> Outcome:
    """Run one scenario: faults first, then calm until every job has ended."""
    world = World(scenario.seed, traced=traced)
    with _determined(world), simulated(world):
        stage = _stage(world, scenario)
        rule = what = ""
        try:
            _play(world, stage)
        except Broken as broken:
            rule, what = broken.rule, str(broken)
        except Exception as error:  # noqa: BLE001 - the code under test may raise anything, and must not
            rule, what = f"no {type(error).__name__}", repr(error)
        finally:
            world.end()
    oracle = stage.oracle
    bodies = oracle.started
    writes = sum(map(len, oracle.lives.values()))
    trace = tuple(world.trace or ())
    return Outcome(scenario, rule, what, len(oracle.lives), bodies, stage.calm_sweeps, writes, trace)


def shrunk(failed: Outcome) -> Outcome:
    """Leave out of a failing scenario whatever it fails without, by the same rule."""
    while True:
        for simpler in failed.scenario.simpler():
            outcome = run(simpler)
            if outcome.rule == failed.rule:
                failed = outcome
                break
        else:
            return failed


def _stage(world: World, scenario: Scenario) -> Stage:
    settings = simulated_settings(scenario.listed, scenario.brief, scenario.dimensions)
    lags = world.stream("lag")
    faults = Faults(world, scenario)
    longest = lags.choice(LAG_MS) if faults.possible("lag") else 1
    short = "short" in scenario.dimensions
    database = Database(lambda: world.now, lambda: lags.randrange(longest), lambda most: 1 if short else most)
    database.make_table(settings.job_table, schema.KEY, BY_STATE)
    database.make_table(settings.fleet_table, schema.FLEET_KEY)
    database.make_table(LEDGER, "id")
    oracle = Oracle(world, scenario, settings)
    tick = TICK_MS if scenario.ticking else 0
    shared = Shared(
        world, database, faults, settings, oracle, instant=scenario.coarse, tick=tick, stalls=scenario.stalls
    )
    kept_ms = _kept_ms(world, scenario)
    names = [name for name in settings.queue_names if name != settings.recovery_queue]
    queues = {name: Queue(world, faults, oracle.sent, name=name, kept_ms=kept_ms) for name in names}
    stage = Stage(shared, scenario, oracle, queues, [])
    if "releases" in scenario.dimensions:
        plant(stage)
    if "ttl" in scenario.dimensions:
        world.spawn("ttl", partial(delete_expired, stage))
    for n in range(scenario.submitters):
        world.spawn(f"submitter{n}", partial(submit, stage, stage.process("submitter", n)))
    for n in range(scenario.workers):
        world.spawn(f"worker{n}", stage.lives("worker", n, lambda process: Worker(stage, process).live()))
    for n in range(scenario.sweepers):
        world.spawn(f"recovery{n}", stage.lives("recovery", n, partial(recover, stage)))
    for n in range(scenario.people):
        world.spawn(f"person{n}", partial(meddle, stage, stage.process("person", n)))
    return stage


def _kept_ms(world: World, scenario: Scenario) -> int | None:
    """How long SQS keeps a message: bounded where jobs are deleted, short where it is to forget some."""
    if "ttl" in scenario.dimensions:
        return MESSAGE_MS
    return world.stream("retention").choice((5_000, 20_000)) if "retention" in scenario.dimensions else None


def _play(world: World, stage: Stage) -> None:
    calm_at = world.now + FAULTY_MS
    world.run(lambda: world.now >= calm_at)
    world.calm = True
    world.note("-", "calm from here on")
    items = stage.shared.database.items(stage.shared.settings.job_table)
    most = SWEEPS * stage.scenario.sweepers
    world.run(lambda: stage.calm_sweeps >= most or (not stage.busy and stage.oracle.all_over(items)))
    stage.oracle.conclude(items)


@contextmanager
def _determined(world: World) -> Iterator[None]:
    """Let nothing random come from anywhere but the seed, and nothing be logged."""
    tokens: Random = world.stream("tokens")
    state, logging_before = random.getstate(), structlog.get_config()
    random.seed(f"{world.seed}/jitter")
    silent = structlog.make_filtering_bound_logger(logging.CRITICAL)
    structlog.configure(wrapper_class=silent, processors=[], cache_logger_on_first_use=False)
    try:
        with patch.object(secrets, "token_hex", lambda size: f"{tokens.getrandbits(8 * size):0{2 * size}x}"):
            yield
    finally:
        random.setstate(state)
        structlog.configure(**logging_before)
