"""One canvas a seed: chains, chords and callbacks, whose members end however they like."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from celery import chain, chord, group, shared_task

from jobclaim.jobs import JobStatus
from jobclaim.jobs.encoding.item import from_item
from jobclaim.workers import JobTask
from jobclaim.workers.cancel import cancel
from tests.simulation.flows.world import Process, World, world_of

ACTS: Final = 25
_judges: list[Judge] = []


class Judge:
    """Knows the canvas, counts bodies, and compares what they get with what those before them gave."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.after: dict[str, tuple[str, ...]] = {}
        self.gave: dict[str, list[int]] = defaultdict(list)
        self.began: dict[str, set[int]] = defaultdict(set)
        self.callbacks: dict[str, int] = defaultdict(int)

    def statuses(self) -> dict[str, Any]:
        """Give all jobs as they are stored."""
        items = self.world.client._database.items(self.world.harness.app.jobclaim.settings.job_table)
        return {key: from_item(item) for key, item in items.items() if "status" in item}

    def starts(self, job: Any, given: Any) -> None:
        """Judge that a step begins: once an attempt, after those before it, with what they gave."""
        again = job.attempt in self.began[job.job_id]
        self.world.require(not again, "one body per attempt", f"{job.job_id} {job.attempt}")
        self.began[job.job_id].add(job.attempt)
        before = self.after[job.job_id]
        if len(before) == 1:
            self.follows(before[0], given)
        elif before:
            stored = self.statuses()
            ended = [stored[name].status == JobStatus.COMPLETED for name in before]
            self.world.require(all(ended), "a chord's body waits for its members", f"{before}: {ended}")
            right = [stored[name].result for name in before]
            self.world.require(given == right, "a chord's body gets its members' results", f"{given}, not {right}")

    def follows(self, before: str, given: Any) -> None:
        """Judge that what follows a step gets what an attempt of it gave."""
        known = self.gave[before]
        self.world.require(given in known, "a step follows what has succeeded", f"{given}, and {before} gave {known}")

    def conclude(self) -> None:
        """Judge what is left when all is calm: nothing is open, and what follows a success exists."""
        stored = self.statuses()
        open_still = [key for key, job in stored.items() if job.status.is_open]
        self.world.require(not open_still, "every job ends", open_still)
        for name, before in self.after.items():
            succeeded = all(one in stored and stored[one].status == JobStatus.COMPLETED for one in before)
            self.world.require(not succeeded or name in stored, "a success is followed", f"{name} after {before}")
            if name in stored and len(before) > 1:
                self.world.require(succeeded, "a chord's body waits for its members", name)
        for name, times in self.callbacks.items():
            self.world.require(times <= 1, "a callback runs once", name)


@shared_task(base=JobTask, bind=True, name="flows.step", on_orphan="retry", max_retries=2, default_retry_delay=1)
def step(self: Any, given: Any = None) -> int:
    """Begin, let others act, and end somehow."""
    judge = _judges[-1]
    job, random = self.request.job, judge.world.random
    judge.starts(job, given)
    judge.world._may_die()
    judge.world._meanwhile()
    if judge.world.faulty and random.random() < 0.35:
        if random.random() < 0.3:
            raise ValueError("for good")
        raise self.retry(exc=ConnectionError("later"))
    value = random.randrange(1_000_000)
    judge.gave[job.job_id].append(value)
    return value


@shared_task(base=JobTask, bind=True, name="flows.callback")
def callback(self: Any, given: Any, of: str) -> None:
    """Be called with what a step gave."""
    judge = _judges[-1]
    judge.callbacks[of] += 1
    judge.follows(of, given)


def run(seed: int) -> str:
    """Run one seed; give the rule that it broke, or nothing."""
    with world_of(seed) as world:
        judge = Judge(world)
        _judges.append(judge)
        world.act = lambda: _act(world, judge)
        try:
            _submit(world, judge)
            for _ in range(ACTS):
                world.act()
            world.settle(lambda: all(not job.status.is_open for job in judge.statuses().values()))
            judge.conclude()
        finally:
            _judges.pop()
    return world.broken


def _act(world: World, judge: Judge) -> None:
    random = world.random
    choice = random.random()
    if choice < 0.75:
        world.deliver()
    elif choice < 0.85:
        world.recover()
    elif choice < 0.88 and (names := list(judge.after)):
        world.run(Process(), lambda: cancel(world.harness.app.jobclaim.repo, random.choice(names)))
    else:
        world.harness.travel(random.choice((1, 5, 60, 400, 2_000)))


def _submit(world: World, judge: Judge) -> None:
    """Submit a chain of steps and groups: a step after a group is its chord's body. Without faults: it is whole."""
    world.faulty, faulty = False, world.faulty
    before: tuple[str, ...] = ()
    links: list[Any] = []
    for at in range(world.random.randint(2, 4)):
        members = world.random.choice((1, 1, 3)) if len(before) <= 1 else 1
        names = tuple(f"step-{at}-{n}" for n in range(members))
        made = [_made(world, name) for name in names]
        judge.after.update(dict.fromkeys(names, before))
        links.append(made[0] if members == 1 else group(made))
        before = names
    if len(before) > 1:
        judge.after["last"] = before
        links.append(_made(world, "last"))
    world.run(Process(), lambda: _whole(links).apply_async())
    world.faulty = faulty


def _whole(links: list[Any]) -> Any:
    """Give a chord where nothing precedes the group, else a chain, which makes chords by itself."""
    if len(links) == 2 and isinstance(links[0], group):
        return chord(links[0], links[1])
    return chain(*links)


def _made(world: World, name: str) -> Any:
    made = step.s().set(task_id=name)
    if world.random.random() < 0.3:
        made.link(callback.s(of=name))
    return made
