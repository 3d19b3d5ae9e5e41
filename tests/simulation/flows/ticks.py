"""One or two beats a seed, whose clocks jump; ticks of a job's schedule and of a plain task's."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from celery import shared_task

from jobclaim.testing.harness import Message
from jobclaim.workers import JobTask
from jobclaim.workers.schedule.beat import JobScheduler
from tests.simulation.flows.world import Process, World, world_of

ACTS: Final = 40
EVERY: Final = {"job": 10, "plain": 15}
JUMPS: Final = (-3_600.0, -20.0, 20.0, 300.0, 86_400.0)
"""By how many seconds a clock is wrong for a while."""
CALM_SECONDS: Final = 80
TAKEN_SECONDS: Final = 30
"""For how long a note may stand that a beat 20 s ahead took before it died: until then nobody sends that plain tick."""
LATE_SECONDS: Final = 12
"""How late a tick may be submitted: beats look at the clock every 10 s at the latest."""
_judges: list[Judge] = []


class Judge:
    """Counts bodies and messages by tick."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bodies: Counter[str] = Counter()
        self.messages: Counter[str] = Counter()
        self.wild = False

    def sent(self, message: Message) -> None:
        """Take note of a message."""
        if message.task == "flows.plain_tick":
            self.messages[message.task_id] += 1

    def runs(self, tick: str) -> None:
        """Judge that a tick runs: once."""
        self.bodies[tick] += 1
        self.world.require(self.bodies[tick] == 1, "a tick is one job", tick)

    def conclude(self, since: int, until: int) -> None:
        """Judge the calm time: each of its ticks ran; only those exist that the calendar has."""
        stored = self.world.client._database.items(self.world.harness.app.jobclaim.settings.job_table)
        for name, every in EVERY.items():
            first = since // 1000 + (TAKEN_SECONDS if name == "plain" else 0)
            for at in range(-(-first // every) * every, until // 1000 - LATE_SECONDS, every):
                tick = _named(name, at)
                there = tick in stored if name == "job" else self.messages[tick] > 0
                self.world.require(there, "no schedule falls silent", tick)
        for key in stored:
            name, _, time = key.partition("@")
            if name in EVERY:
                due = int(datetime.fromisoformat(time[:20]).timestamp())
                known = due % EVERY[name] == 0 and key == _named(name, due)
                self.world.require(known, "a tick is named by its time", key)
        if not self.wild:
            doubled = {tick: times for tick, times in self.messages.items() if times > 1}
            self.world.require(not doubled, "a plain tick is sent once", doubled)


def _named(name: str, at: int) -> str:
    return f"{name}@{datetime.fromtimestamp(at, UTC).isoformat().replace('+00:00', 'Z')}"


@shared_task(base=JobTask, bind=True, name="flows.tick")
def tick(self: Any) -> None:
    """Run."""
    _judges[-1].runs(self.request.job.job_id)


@shared_task(name="flows.plain_tick")
def plain_tick() -> None:
    """Run."""


class Clocked(JobScheduler):
    """A scheduler with the clock of its process."""

    def __init__(self, world: World, process: Process) -> None:
        self.clock = lambda: datetime.fromtimestamp(world.harness.clock() / 1000 + process.ahead, UTC)
        self.monotonic = lambda: world.harness.clock() / 1000
        world.harness.app.conf.beat_schedule = {
            "job": {"task": "flows.tick", "schedule": float(EVERY["job"])},
            "plain": {"task": "flows.plain_tick", "schedule": float(EVERY["plain"])},
        }
        super().__init__(app=world.harness.app)
        self.producer = None


class Beat:
    """One beat: a scheduler in a process; a new one takes its place when it dies."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._schedule: Any = None
        self.process = Process()

    def turn(self) -> None:
        """Go through its loop once."""
        if self.process.dead:
            self.process, self._schedule = Process(), None
        self._world.run(self.process, self._tick)

    def _tick(self) -> None:
        if self._schedule is None:
            self._schedule = Clocked(self._world, self.process)
        self._schedule.tick()


def run(seed: int, *, beats: int | None = None) -> str:
    """Run one seed; give the rule that it broke, or nothing."""
    with world_of(seed) as world:
        judge = Judge(world)
        judge.wild = world.faulty
        _judges.append(judge)
        world.sent = judge.sent
        known = [Beat(world) for _ in range(beats or world.random.choice((1, 2)))]
        world.act = lambda: _act(world, known)
        try:
            for _ in range(ACTS):
                world.act()
            for beat in known:
                beat.process.ahead = 0.0
            world.faulty = False
            since = world.harness.clock()
            for _ in range(CALM_SECONDS // 5):
                for beat in known:
                    beat.turn()
                world.harness.travel(5)
                while world.harness._next_due() is not None:
                    world.deliver()
            judge.conclude(since, world.harness.clock())
        finally:
            _judges.pop()
    return world.broken


def _act(world: World, beats: list[Beat]) -> None:
    random = world.random
    choice = random.random()
    if choice < 0.5:
        random.choice(beats).turn()
    elif choice < 0.7:
        world.deliver()
    elif choice < 0.75:
        world.recover()
    elif choice < 0.85 and world.faulty:
        random.choice(beats).process.ahead = random.choice((0.0, 0.0, *JUMPS))
    else:
        world.harness.travel(random.choice((1, 5, 10)))
