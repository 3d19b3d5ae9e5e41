"""What must hold at every write, and between what bodies and resumers were told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jobclaim.jobs import Job
from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding.item import from_item
from jobclaim.jobs.kept import Wait

Item = Mapping[str, Mapping[str, Any]]


class Broken(AssertionError):
    """A rule is broken; the message begins with the rule."""


def require(holds: bool, rule: str, what: object = "") -> None:
    """Break the run unless a rule holds."""
    if not holds:
        raise Broken(f"{rule}: {what}")


class Judge:
    """Keeps what was promised, and compares."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.life = 0
        """Counts up when a new run, or a person, begins from nothing."""
        self._resumed: dict[tuple[int, str], object] = {}
        self._timed_out: set[tuple[str, str]] = set()
        self.stored: Job | None = None

    # --- what is written
    def wrote(self, kind: str, token: str, before: Item, after: Item, *, read: str = "") -> None:
        """Judge one applied write; ``read`` is the run that its writer had read."""
        new = self.stored = from_item(after)
        require(new.step_count == len(new.steps), "steps are counted", new.step_count)
        require(len({step.name for step in new.steps}) == len(new.steps), "a step is recorded once", new.steps)
        waiting = new.waiting
        require(waiting is None or not waiting.resumed_at, "no job waits for what has come", waiting)
        require(not new.status.is_open or not new.expires_at, "an open job has no expiry")
        if not before:
            return
        old = from_item(before)
        require(new.attempt >= old.attempt, "attempts only grow")
        if kind in ("submitter", "person") and not new.steps and (old.steps or old.submission != new.submission):
            if not new.waits or kind == "submitter":
                self.life += 1
        else:
            self._kept(old, new, kind)
        if kind == "owner" and old.status == "PROCESSING":
            require(token == old.claim_token, "the current claim writes", f"{token}, not {old.claim_token}")
        if kind == "owner" and old.status != "PROCESSING":
            require(old.status == "PENDING" and new.attempt == old.attempt + 1, "nothing is written after an end")
        if kind == "resumer":
            require(read == old.submission, "a resume is of the run that was read", f"{read}, not {old.submission}")
            self._resumes(old, new)

    def _kept(self, old: Job, new: Job, kind: str) -> None:
        lost = [step for step in old.steps if step not in new.steps]
        require(not lost, "a recorded step stays", lost)
        grown = len(new.steps) - len(old.steps)
        require(grown == 0 or (grown == 1 and kind == "owner"), "a step is recorded by its body", kind)
        for wait in old.waits:
            if wait.resumed_at:
                known = new.wait_named(wait.name)
                require(_resume_of(known) == _resume_of(wait), "the first resume counts", (wait, known))
            if wait.timed_out and old.submission == new.submission:
                known = new.wait_named(wait.name)
                require(known is not None and not known.resumed_at, "a deadline that was told stays over", known)

    def _resumes(self, old: Job, new: Job) -> None:
        require(new.status is old.status, "a resume changes no state", f"{old.status} -> {new.status}")
        require((new.attempt, new.charged) == (old.attempt, old.charged), "a resume starts nothing itself")
        came = [wait.name for wait in new.waits if wait.resumed_at and not _resumed(old.wait_named(wait.name))]
        require(len(came) == 1, "a resume writes one wait", came)
        if old.waiting is not None and came == [old.waits_for]:
            due = new.available_at <= self._clock() and new.dispatches == old.dispatches + 1 and not new.waits_for
            require(due, "a resumed job is due at once", (new.available_at, new.dispatches))
        else:
            same = (old.available_at, old.dispatches, old.waits_for) == (
                new.available_at,
                new.dispatches,
                new.waits_for,
            )
            require(same, "an early resume starts nothing", (old.available_at, new.available_at))

    def sent(self, job: Job) -> None:
        """Judge a message that a resume or a wait sends: it names the attempt that waits."""
        require(job.dispatches >= 1, "no message is sent that is not counted", job.dispatches)

    # --- what is told
    def acknowledged(self, life: int, name: str, payload: object) -> None:
        """Judge that a resumer was told of success: of several that differ one is."""
        first = self._resumed.setdefault((life, name), payload)
        require(first == payload, "of two resumes one counts", f"{first} and {payload}")

    def body_got(self, job: Job, wait: Wait) -> None:
        """Judge what a body was given."""
        require((job.submission, wait.name) not in self._timed_out, "a body is told one thing", wait.name)
        known = self._resumed.get((self.life, wait.name), wait.payload)
        require(known == wait.payload, "a body gets what counted", f"{known}, not {wait.payload}")

    def body_was_late(self, job: Job, name: str) -> None:
        """Take note that a body was told that nobody resumed it."""
        self._timed_out.add((job.submission, name))

    def runs(self, token: str, name: str) -> None:
        """Judge that a step's function runs: under the current claim only where no record of it stands."""
        now = self.stored
        if now is not None and now.status == "PROCESSING" and now.claim_token == token:
            known = now.step_named(name)
            require(known is None or known.attempt == now.attempt, "a finished step is not run again", name)


def _resumed(wait: Wait | None) -> bool:
    return wait is not None and bool(wait.resumed_at)


def _resume_of(wait: Wait | None) -> object:
    return wait and (wait.resumed_at, wait.payload, wait.by, wait.nonce)
