"""One run of the small world: it goes as a list of choices says, and as the first option says beyond that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple
from unittest.mock import patch

from botocore.exceptions import ReadTimeoutError
from greenlet import GreenletExit, getcurrent, greenlet

from jobclaim.jobs import ClaimLost, Job, JobError, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.storage.resilience import is_transient
from jobclaim.recovery import sweep
from tests.simulation.client import BY_STATE
from tests.simulation.dynamodb import Database, refusal
from tests.simulation.exhaustive.equal import is_void
from tests.simulation.faults import Faults
from tests.simulation.judge.facts import Facts
from tests.simulation.judge.oracle import Oracle
from tests.simulation.line import ENDPOINT, Line, Process, Shared
from tests.simulation.queues import TASK, Message
from tests.simulation.scenario import Scenario, simulated_settings
from tests.simulation.world import Crash, World

LATER_MS: Final = 31_000
"""Time passes once, by more than a lease and more than the wait before a message is sent again."""
JOB: Final = "job"
FAULTS: Final = ("crash", "throttled", "answer lost", "late")
"""What may go wrong with a write. At most two in a run: the third try of a request (`TRIES`) is always answered."""
UNANSWERED: Final = "nothing"


@dataclass(frozen=True, slots=True)
class Small:
    """What is explored.

    Attributes
    ----------
    faults : int
        How many things may go wrong in one run.
    copies : int
        How often SQS delivers the job's message.
    on_orphan : str
    person : bool
        Whether somebody cancels the job while it waits, retries it when it failed, and forgets its result.
    """

    faults: int = 2
    copies: int = 2
    on_orphan: str = "retry"
    person: bool = True


class SeenBefore(Exception):
    """This state was reached by another order of events; what follows from it is known."""


@dataclass
class Actor:
    """One process: where it stands, and what it has been answered."""

    process: Process
    run: greenlet
    wants: str = "start"
    request: str = ""
    heard: list[str] = field(default_factory=list)
    over: bool = False

    def state(self) -> tuple[object, ...]:
        """Give what its next steps follow from."""
        if self.over:
            return (self.process.name,)
        return self.process.name, self.wants, self.request, self.heard, self.process.token


class Option(NamedTuple):
    """What may happen next.

    Attributes
    ----------
    fault : bool
        Whether it is something that goes wrong.
    """

    name: str
    take: Callable[[], None]
    fault: bool = False


Chooser = Callable[[Callable[[], str], list[Option]], int]
"""Gets what gives the state, and its options; gives the number of the one that is taken."""


class Play:
    """The small world."""

    def __init__(self, small: Small, choose: Chooser) -> None:
        self.small = small
        self._choose = choose
        self.world = World(0)
        scenario = Scenario(0, submitters=1, workers=2, sweepers=1, people=1)
        self.settings = simulated_settings(False, False)
        self.database = Database(lambda: self.world.now)
        self.database.make_table(self.settings.job_table, schema.KEY, BY_STATE)
        self.database.make_table(self.settings.fleet_table, schema.FLEET_KEY)
        self.oracle = Oracle(self.world, scenario, self.settings)
        faults = Faults(self.world, scenario)
        self.shared = Shared(self.world, self.database, faults, self.settings, self.oracle)
        self.messages: list[tuple[str, int | None]] = []
        self.late: list[tuple[Actor, str, dict[str, Any], Any]] = []
        self.struck = 0
        self.passed = False
        self.choices: list[str] = []
        self.steps = 0
        self._hub = getcurrent()
        self._tokens: dict[str, int] = {}
        self.actors: list[Actor] = []

    # --- running
    def run(self) -> None:
        """Play until nobody can go on; then have everything that is left done, without faults.

        Raises
        ------
        Broken
            A promise was broken.
        SeenBefore
        """
        with self._determined():
            self._submit()
            self._add("worker0", "worker", self._work)
            self._add("worker1", "worker", self._work)
            self._add("recovery", "recovery", self._recover)
            if self.small.person:
                self._add("person", "person", self._meddle)
            try:
                for actor in self.actors:
                    if (
                        actor.process.kind != "recovery"
                    ):  # which looks at the clock: to begin changes nothing for others
                        self._resume(actor, "")
                while True:
                    options = self.options()
                    number = self._choose(self.state, options)
                    if not options:
                        break
                    self.choices.append(options[number].name)
                    self.struck += options[number].fault
                    options[number].take()
                self._conclude()
            finally:
                for actor in self.actors:
                    actor.run.throw(GreenletExit)

    def options(self) -> list[Option]:
        """Give what may happen next, first what is no fault."""
        self.late = [late for late in self.late if not is_void(late[2], self.stored(), self.oracle)]
        found, faults = [], []
        for actor in self.actors:
            name = f"{actor.process.name} {actor.wants}"
            if actor.over:
                continue
            if actor.wants == "receive":
                messages = sorted(set(self.messages), key=str)
                found += [Option(f"{name} {one}", partial(self._receive, actor, one)) for one in messages]
                continue
            found.append(Option(name, partial(self._resume, actor, "")))
            if actor.wants == "update_item" and self.struck < self.small.faults:
                # what is read again is read later, which is a choice as it is
                faults += [Option(f"{name}: {one}", partial(self._strike, actor, one), fault=True) for one in FAULTS]
        arrivals = [Option(f"late request {n} arrives", partial(self._arrive, n)) for n in range(len(self.late))]
        passing = [] if self.passed or not found + arrivals else [Option("time passes", self._pass_time)]
        return [*found, *arrivals, *passing, *faults]

    def _receive(self, actor: Actor, message: tuple[str, int | None]) -> None:
        self.messages.remove(message)
        actor.process.attempt = message[1]
        self._resume(actor, "")

    def _resume(self, actor: Actor, fault: str) -> None:
        self.steps += 1
        actor.run.switch(fault)
        if actor.run.dead:
            actor.over = True

    def _strike(self, actor: Actor, fault: str) -> None:
        actor.process.disturbed_at = self.world.now
        self._resume(actor, fault)

    def _arrive(self, number: int) -> None:
        actor, operation, request, writer = self.late.pop(number)
        Line(actor.process)._carry_out(operation, request, writer)

    def _pass_time(self) -> None:
        self.passed = True
        self.world.now += LATER_MS
        for actor in self.actors:
            actor.process.disturbed_at = self.world.now

    def stored(self) -> Facts:
        """Give the job as it is stored."""
        return Facts(self.database.items(self.settings.job_table)[JOB])

    def state(self) -> str:
        """Give what everything that may follow depends on, but for the number of faults that are left."""
        items = {table: self.database.items(table) for table in (self.settings.job_table, self.settings.fleet_table)}
        judge = self.oracle
        seen = [
            {n: (body.process.name, body.until is None) for n, body in judge.bodies.get(JOB, {}).items()},
            sorted(map(str, judge.ended.items())),
            sorted(map(str, judge.charged.items())),
            sorted(map(str, judge.messages.items())),
        ]
        actors = [actor.state() for actor in self.actors]
        late = [(operation, request) for _, operation, request, _ in self.late]
        late.sort(key=str)
        whole = [items, seen, actors, sorted(map(str, self.messages)), late, self.passed]
        return json.dumps(whole, sort_keys=True)

    # --- actors
    def _add(self, name: str, kind: str, live: Callable[[Actor], None]) -> None:
        process = Process(self.shared, name, kind, Random(0))

        def run(_: str) -> None:
            with suppress(Crash, GreenletExit):
                live(actor)
            actor.over = True
            actor.heard.clear()

        actor = Actor(process, greenlet(run, parent=self._hub))
        self.actors.append(actor)

    def stop(self, actor: Actor, wants: str, request: str = "") -> str:
        """Let others go on; gives what goes wrong with what it wants."""
        actor.wants, actor.request = wants, request
        fault = str(self._hub.switch())
        if fault == "crash":
            raise Crash
        return fault

    def repo(self, actor: Actor) -> JobRepo:
        """Give an actor's repo."""
        line = SteppedLine(self, actor)
        return JobRepo(line, settings=self.settings, clock=actor.process.clock, sleep=lambda _: None)

    def _submit(self) -> None:
        process = Process(self.shared, "submitter", "submitter", Random(0))
        repo = JobRepo(Line(process), settings=self.settings, clock=process.clock, sleep=lambda _: None)
        with patch.object(World, "pause", lambda *_: None):
            job = repo.create_job(TASK, job_id=JOB, max_attempts=2, on_orphan=self.small.on_orphan)  # type: ignore[arg-type]
        self.oracle.submitted(job)
        self._send(job)
        self.messages += [(JOB, job.attempt)] * (self.small.copies - 1)

    def _send(self, job: Job, _: float = 0) -> None:
        self.oracle.sent(job.job_id, job.attempt)
        self.messages.append((job.job_id, job.attempt))

    def _work(self, actor: Actor) -> None:
        for number in range(2):
            actor.heard = [f"after {number} messages"]  # and a child of its own for each: it remembers nothing
            self.stop(actor, "receive")
            repo, attempt = self.repo(actor), actor.process.attempt
            try:
                job = repo.claim_job(JOB, worker_id=actor.process.name, attempt=attempt, task=TASK, when_due=True)
            except JobError as error:
                actor.heard.append(type(error).__name__)
                continue
            if job is not None:
                self.oracle.rightful(job, Message(JOB, attempt, 0), self.world.now)
                self._body(actor, repo, job)

    def _body(self, actor: Actor, repo: JobRepo, job: Job) -> None:
        actor.process.token = job.claim_token
        body = self.oracle.starts(actor.process, job)
        try:
            after = repo.update_status(JOB, "COMPLETED", result=[job.attempt])
            self.oracle.told(job, job.claim_token, str(after.status))
        except ClaimLost:
            self.oracle.told(job, job.claim_token, None)
        except StoreUnavailable:
            self.oracle.dropped(actor.process, job)
        finally:
            body.until = self.world.now
            actor.process.token = ""

    def _recover(self, actor: Actor) -> None:
        sweep(self.repo(actor), send=self._send, backlog=lambda _: 0)

    def _meddle(self, actor: Actor) -> None:
        repo = self.repo(actor)
        try:
            job = repo.get_job(JOB)
            actor.heard = [str(job.status)]  # what follows rests on this, and on what it reads next
            if job.status is JobStatus.PENDING:
                repo.cancel_job(JOB)
            elif job.status is JobStatus.FAILED:
                self._send(repo.retry_job(JOB))
        except JobError as error:
            actor.heard.append(type(error).__name__)

    # --- the end
    def _conclude(self) -> None:
        """Have passes and a worker finish the job, without faults: none may be lost."""
        quiet = [Process(self.shared, name, kind, Random(0)) for name, kind in (("w", "worker"), ("r", "recovery"))]
        with patch.object(World, "pause", lambda *_: None), patch.object(Random, "random", lambda _: 0.9):
            worker, recovery = (
                JobRepo(Line(one), settings=self.settings, clock=one.clock, sleep=lambda _: None) for one in quiet
            )
            items = self.database.items(self.settings.job_table)
            for _ in range(12):
                if self.oracle.all_over(items):
                    break
                self.world.now += LATER_MS * 2
                sweep(recovery, send=self._send, backlog=lambda _: 0)
                while self.messages:
                    _, quiet[0].attempt = self.messages.pop(0)
                    job = worker.claim_job(JOB, worker_id="w", attempt=quiet[0].attempt, task=TASK)
                    if job is not None:
                        quiet[0].token = job.claim_token
                        self.oracle.starts(quiet[0], job).until = self.world.now
                        worker.update_status(JOB, "COMPLETED", result=[job.attempt])
            self.oracle.conclude(items)

    @contextmanager
    def _determined(self) -> Iterator[None]:
        """Let tokens follow from who draws them, not from the order in which they are drawn."""

        def token(_: int) -> str:
            who = next((actor.process.name for actor in self.actors if actor.run is getcurrent()), "nobody")
            self._tokens[who] = self._tokens.get(who, 0) + 1
            return f"{who}-{self._tokens[who]}"

        with patch("secrets.token_hex", token):
            yield


class SteppedLine(Line):
    """A client that stops before each request on a job.

    It does not stop before recovery asks the index: what that shows is decided on when the items behind it are read.
    """

    def __init__(self, play: Play, actor: Actor) -> None:
        super().__init__(actor.process)
        self._play = play
        self._actor = actor

    def _ask(self, operation: str, **request: Any) -> Any:
        play, actor = self._play, self._actor
        if operation == "query" or request.get("TableName") == play.settings.fleet_table:
            return self._carry_out(operation, request, self._writer(request))[0]
        fault = play.stop(actor, operation, json.dumps(request, sort_keys=True))
        writer = self._writer(request)
        if fault == "throttled":
            return self._failed(refusal("ThrottlingException", "slow down"))
        if fault == "late":
            play.late.append((actor, operation, request, writer))
            return self._failed(ReadTimeoutError(endpoint_url=ENDPOINT))
        answer, read, error = self._carry_out(operation, request, writer)
        if fault == "answer lost":
            return self._failed(ReadTimeoutError(endpoint_url=ENDPOINT))
        if error is not None:
            self._rest_on(error.response)
            return self._failed(error)
        if read is None:
            self._read(answer)
        else:
            self._rest_on({"Item": read})
        actor.heard.append(f"{play.passed} {json.dumps(answer, sort_keys=True)}")
        return answer

    def _failed(self, error: Exception) -> Any:
        """Raise what the actor hears.

        After an error that passes the code makes the same request again. What it remembers of the error is only that
        there was one, and workers not even that: what they write they may write twice (`Transition.is_repeatable`).
        """
        heard = self._actor.heard
        if not is_transient(error):
            heard.append(f"{self._play.passed} {type(error).__name__} {getattr(error, 'response', '')}")
        elif self._actor.process.kind != "worker" and UNANSWERED not in heard[-1:]:
            heard.append(UNANSWERED)
        raise error
