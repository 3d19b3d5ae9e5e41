"""The world of one seed: a table, a clock, a bad line, and who acts when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from botocore.exceptions import ClientError, ReadTimeoutError

from jobclaim.jobs import JobRepo
from jobclaim.jobs.protocol.submission import id_for_key
from jobclaim.settings import Settings
from tests.simulation.client import ModelClient
from tests.simulation.lasting.judge import Judge
from tests.support.clock import ManualClock

KEY: Final = "k"
JOB: Final = id_for_key("t", KEY)
ACTS: Final = 40
"""Acts of one seed, those that come between another's read and write not among them."""
DEPTH: Final = 2
"""How deep others may act between another one's read and its write."""
SETTINGS: Final = Settings(_env_file=None, progress_seconds=2.0, max_dispatches=3)


class Crash(BaseException):
    """The process dies here."""


@dataclass(frozen=True)
class Focus:
    """What there is more of in a world than in others: weights of who acts, weights of what bodies do, and how often
    others act between a read and a write.
    """

    acts: tuple[int, ...] = ()
    ways: tuple[int, ...] = ()
    between: float = 0.35


@dataclass
class Writer:
    """Who writes: a kind, the token of the claim that the process believes to hold, and the run that it read last."""

    kind: str
    token: str = ""
    read: str = ""


class Line:
    """One process's client: before its writes others act; requests and answers get lost; the process dies."""

    def __init__(self, world: World, writer: Writer) -> None:
        self._world, self.writer = world, writer

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        ask = getattr(self._world.client, operation)
        if operation not in ("put_item", "update_item"):
            return lambda **request: self._seen(ask(**request))

        def write(**request: Any) -> Any:
            world, random = self._world, self._world.random
            world.meanwhile()
            if world.faulty and random.random() < 0.08:
                raise Crash
            if world.faulty and random.random() < 0.1:
                raise ReadTimeoutError(endpoint_url="http://dynamodb")
            answer = world.applied(self.writer, ask, request)
            if world.faulty and random.random() < 0.1:
                world.meanwhile()
                raise ReadTimeoutError(endpoint_url="http://dynamodb")
            if world.faulty and random.random() < 0.05:
                raise Crash
            return answer

        return write

    def _seen(self, answer: Any) -> Any:
        item = answer.get("Item") or {}
        self.writer.read = item.get("submission", {"S": ""})["S"]
        return answer


class World:
    """One seed's world.

    Attributes
    ----------
    faulty : bool
        Whether anything goes wrong at all.
    act : callable
        Lets somebody do something; set by whoever knows the actors.
    """

    def __init__(self, seed: int, focus: Focus = Focus()) -> None:
        self.random = Random(f"{seed}/lasting")
        self.focus = focus
        self.faulty = self.random.random() < 0.8
        self.clock = ManualClock()
        self.client = ModelClient(self.clock)
        self.client.make_tables(SETTINGS.job_table, SETTINGS.fleet_table)
        self.judge = Judge(self.clock)
        self.act: Callable[[], None] = lambda: None
        self._depth = 0

    def repo(self, writer: Writer) -> JobRepo:
        """Give a process its repo; what it sends is judged."""
        made = JobRepo(Line(self, writer), settings=SETTINGS, clock=self.clock, sleep=self.clock.advance)
        made.sender = self.judge.sent
        return made

    def item(self) -> dict[str, Any]:
        """Give the job's item as it is stored."""
        answer = self.client.get_item(TableName=SETTINGS.job_table, Key={"job_id": {"S": JOB}}, ConsistentRead=True)
        return dict(answer.get("Item", {}))

    def applied(self, writer: Writer, ask: Callable[..., Any], request: dict[str, Any]) -> Any:
        """Carry a write out, and judge it."""
        before = self.item()
        try:
            answer = ask(**request)
        except ClientError as error:
            stored: Any = error.response
            writer.read = stored.get("Item", {}).get("submission", {"S": ""})["S"]
            raise
        self.judge.wrote(writer.kind, writer.token, before, self.item(), read=writer.read)
        return answer

    def meanwhile(self) -> None:
        """Let others act between a read and the write that rests on it."""
        if self._depth < DEPTH and self.random.random() < self.focus.between:
            self._depth += 1
            try:
                for _ in range(self.random.randint(1, 4)):
                    self.act()
            finally:
                self._depth -= 1
