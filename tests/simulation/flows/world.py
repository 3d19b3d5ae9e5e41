"""The world of one seed: an app, its table, its queue, and processes that die between any two requests."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any, Final
from unittest.mock import patch

from botocore.exceptions import ReadTimeoutError
from celery import Celery
from kombu.exceptions import OperationalError

from jobclaim import install
from jobclaim.jobs import JobError
from jobclaim.settings import Settings
from jobclaim.testing import harness
from jobclaim.testing.harness import Harness, Message, RecordingRepo
from tests.simulation.client import ModelClient
from tests.support.clock import START_MS

WRITES: Final = ("put_item", "update_item", "delete_item", "transact_write_items")
DEPTH: Final = 2
"""How deep others may act between another one's read and its write."""
ROUNDS: Final = 40
"""Passes after which everything must have ended once nothing goes wrong any more."""


class Crash(BaseException):
    """The process dies here. Not an `Exception`: nothing may catch it."""


@dataclass
class Process:
    """One process: how far its clock is ahead, in seconds, and whether it has died."""

    ahead: float = 0.0
    dead: bool = False


class Flows(Harness):
    """The harness with sends that fail, before or after the message is taken."""

    world: World

    def _send(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        world = self.world
        if world.process.dead:
            raise Crash
        if world.strikes(0.08):
            raise OperationalError("the queue cannot be reached")
        result = super()._send(name, args, kwargs, **options)
        world.sent(self.messages[-1])
        if world.strikes(0.05):
            raise OperationalError("the queue did not answer")
        return result


class World:
    """One seed's world.

    Attributes
    ----------
    faulty : bool
        Whether anything goes wrong at all; false once it is calm.
    broken : str
        The first promise that was broken: what is raised in a task's body would be taken for its failure.
    act : callable
        Lets somebody do something; set by whoever knows the actors.
    sent : callable
        Takes note of a message that was sent.
    """

    def __init__(self, seed: int, app: Celery, client: ModelClient) -> None:
        self.random = Random(f"{seed}/flows")
        self.faulty = self.random.random() < 0.8
        self.process = Process()
        self.client = client
        self.act: Callable[[], None] = lambda: None
        self.sent: Callable[[Message], None] = lambda _: None
        self.broken = ""
        self._depth = 0
        self._app = app
        self.harness: Flows

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        """Stand in for the DynamoDB client of whichever process acts."""
        ask = getattr(self.client, operation)
        return lambda **request: self._asked(operation, ask, request)

    def strikes(self, rate: float) -> bool:
        """Whether a fault happens now."""
        return self.faulty and self.random.random() < rate

    def require(self, holds: bool, rule: str, what: object = "") -> None:
        """Judge: take note of the first rule that does not hold."""
        if not holds:
            self.broken = self.broken or f"{rule}: {what}"

    def _asked(self, operation: str, ask: Callable[..., Any], request: dict[str, Any]) -> Any:
        if self.process.dead:
            raise Crash
        if operation not in WRITES:
            return ask(**request)
        self._meanwhile()
        self._may_die()
        if self.strikes(0.05):
            raise ReadTimeoutError(endpoint_url="http://dynamodb")
        answer = ask(**request)
        if self.strikes(0.05):
            raise ReadTimeoutError(endpoint_url="http://dynamodb")
        self._may_die()
        return answer

    def _may_die(self) -> None:
        if self.strikes(0.05):
            self.process.dead = True
            raise Crash

    def _meanwhile(self) -> None:
        """Let others act between a read and the write that rests on it."""
        if self.faulty and self._depth < DEPTH and self.random.random() < 0.35:
            self._depth += 1
            try:
                self.act()
            finally:
                self._depth -= 1

    def run(self, process: Process, call: Callable[[], object]) -> None:
        """Let a process do something, in a repo and a context of its own; it may die."""
        handle, before = self._app.jobclaim, self.process
        settings, repo = handle.settings, handle.repo
        self.process = process
        handle.use(settings, self._repo(process))
        try:
            contextvars.Context().run(call)
        except (Crash, JobError, OperationalError):
            pass
        except Exception:
            if not process.dead:  # Celery wraps what it cannot send to its parent
                raise
        finally:
            self.process = before
            handle.use(settings, repo)

    def deliver(self) -> None:
        """Deliver any message that is due, or lose it, or deliver it and keep a copy."""
        due = [message for message in self.harness.messages if message.due <= self.harness.clock()]
        if not due:
            return
        message = self.random.choice(due)
        if not self.strikes(0.1):
            self.harness.messages.remove(message)
        if not self.strikes(0.1):
            self.run(Process(), lambda: self.harness.deliver(message))

    def recover(self) -> None:
        """Run a pass of recovery."""

        def sweep() -> None:
            from jobclaim.recovery import sweep

            sweep(self._app.jobclaim.repo, send=self.harness.publish, backlog=lambda _: 0)

        self.run(Process(), sweep)

    def settle(self, is_over: Callable[[], bool]) -> None:
        """End all faults, and give everything the time to end."""
        self.faulty = False
        for _ in range(ROUNDS):
            if self.harness._next_due() is None and is_over():
                return
            self.harness.travel(120)
            self.recover()
            while self.harness._next_due() is not None:
                self.deliver()

    def _repo(self, process: Process) -> RecordingRepo:
        settings = self._app.jobclaim.settings
        return RecordingRepo(
            self,
            settings=settings,
            clock=lambda: self.harness.clock() + round(process.ahead * 1000),
            sleep=lambda _: None,
        )


@lru_cache(maxsize=1)
def the_app() -> Celery:
    """Give the one app of this process: each seed gets a table of its own."""
    app = Celery("flows", set_as_current=False)
    install(app, Settings(_env_file=None, max_dispatches=60, redispatch_min_seconds=20, recovery_by_beat=False))
    return app


@contextmanager
def world_of(seed: int) -> Iterator[World]:
    """Make the world of a seed."""
    app = the_app()

    @contextmanager
    def in_memory(settings: Settings) -> Iterator[Any]:
        client = ModelClient(lambda: made[0].clock())  # noqa: PLW0108 - it is made later
        client.make_tables(settings.job_table, settings.fleet_table)
        world = World(seed, app, client)
        worlds.append(world)
        yield world

    worlds: list[World] = []
    made: list[Flows] = []
    random.seed(f"{seed}/jitter")
    patched = patch.multiple(harness, in_memory=in_memory, system_clock=lambda: START_MS)
    with patched, Flows.of(app) as flows:
        assert isinstance(flows, Flows)
        made.append(flows)
        worlds[0].harness = flows
        flows.world = worlds[0]
        yield worlds[0]
