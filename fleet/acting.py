"""Record actions of people in the audit trail, from every interface: command line, dashboard, API and Python.

An action is recorded where it is carried out::

    with acting(repo, "pause", what=f"queue {name}", why=reason, by=person) as act:
        limits.pause(name)          # an exception makes it "refused 1"; a normal end "done 1"
        act.done, act.refused = 3, 1        # only where it concerns several

The entry is written before the action begins and completed when it ends, so a killed action leaves a trace. An action
inside another one writes no entry: the outer entry stands for both, and keeps the counts that the inner one set.

The interfaces need no call of their own. `jobclaim.cli.recorded` and `jobclaim.dashboard.recorded` open a `Frame`
around every command that is not listed as reading, and around every form and POST. The frame has the person's name and
the interface. If the code inside has recorded nothing by `acting`, one entry is written when it has succeeded,
described by the arguments of the command or form. So a new command is recorded without further code; with `acting` its
entry is written before the action, in the action's own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from jobclaim.fleet.audit import Audit
from jobclaim.fleet.person import whoami
from jobclaim.jobs.repo import JobRepo


@dataclass(slots=True)
class Act:
    """An action in progress; counts left at ``None`` follow from its end: 1 done, or 1 refused after an exception."""

    done: int | None = None
    refused: int | None = None

    def count(self, *, done: int = 0, refused: int = 0) -> None:
        """Add to what was done and refused, for an action on several objects."""
        self.done, self.refused = (self.done or 0) + done, (self.refused or 0) + refused

    def result(self, *, done: int, refused: int) -> dict[str, int]:
        """Return the counts for its entry: those that were set, else the given ones, which say how it ended."""
        if self.done is None and self.refused is None:
            return {"done": done, "refused": refused}
        return {"done": self.done or 0, "refused": self.refused or 0}


@dataclass(slots=True)
class Frame:
    """What an interface knows of an action before it begins.

    Attributes
    ----------
    by : str
        Name of the person.
    face : str
        ``cli``, ``dashboard`` or ``api``.
    recorded : bool
        Whether an entry was written, or another thread writes it.
    act : Act
        Counts of an action that records nothing itself.
    """

    by: str
    face: str
    recorded: bool
    act: Act


HIDDEN: Final = ("arg", "payload", "value", "secret", "password", "token", "body", "data", "edit", "set")
"""Parts of the names of options and fields whose values may hold a job's arguments or a secret."""
_frame: ContextVar[Frame | None] = ContextVar("jobclaim_frame", default=None)
_act: ContextVar[Act | None] = ContextVar("jobclaim_act", default=None)


@contextmanager
def acting(repo: JobRepo, verb: str, *, what: str = "", why: str = "", by: str = "") -> Iterator[Act]:
    """Record an action of a person while it is carried out; see the module for its use.

    Parameters
    ----------
    verb : str
        What is done, in the words of the command line: ``pause``, ``dead retry``.
    what : str
        Ids, names, or the filter as text; never an argument or a payload of a job.
    by : str, optional
        Who does it; default the person of the command or request, else the user of this machine.

    Raises
    ------
    StoreUnavailable
        The trail cannot be written; nothing was done yet.
    """
    outer = _act.get()
    if outer is not None:
        yield outer
        return
    act, trail = Act(), Audit.of(repo)
    who, face = _actor(by)
    entry = trail.begin(verb, by=who, what=what, why=why, face=face)
    recorded_elsewhere()
    token = _act.set(act)
    try:
        yield act
    except BaseException:
        trail.end(entry, **act.result(done=0, refused=1))
        raise
    else:
        trail.end(entry, **act.result(done=1, refused=0))
    finally:
        _act.reset(token)


def acted(repo: JobRepo, verb: str, *, what: str = "", why: str = "", by: str = "") -> None:
    """Record an action that has just succeeded, in one write: for one that need not leave a trace if it is killed
    halfway.

    Raises
    ------
    StoreUnavailable
        The trail cannot be written; the action was done.
    """
    if _act.get() is not None:
        return
    recorded_elsewhere()
    who, face = _actor(by)
    Audit.of(repo).record(verb, by=who, what=what, why=why, face=face)


@contextmanager
def framed(
    repo: Callable[[], JobRepo], verb: str, *, by: str, face: str, what: str = "", why: str = ""
) -> Iterator[Frame]:
    """Open an interface's frame around code that may act; only for command line and dashboard.

    Parameters
    ----------
    repo : callable
        Returns the repo; called only if an entry must be written here.
    """
    with on_behalf(by, face) as frame:
        yield frame
    if not frame.recorded:
        counts = frame.act.result(done=1, refused=0)
        Audit.of(repo()).record(verb, by=by, why=why, what=what, face=face, **counts)


@contextmanager
def on_behalf(by: str, face: str) -> Iterator[Frame]:
    """Set who acts, and where, for every `acting` inside: for work of an interface that runs in a thread of its own."""
    frame = Frame(by, face, False, Act())
    token = _frame.set(frame)
    try:
        yield frame
    finally:
        _frame.reset(token)


def current_act() -> Act:
    """Return the action in progress, for code that counts its results on several objects."""
    frame = _frame.get()
    return _act.get() or (frame.act if frame is not None else Act())


def recorded_elsewhere() -> None:
    """Mark that this command or request needs no entry: it changes nothing, or what it starts records itself."""
    frame = _frame.get()
    if frame is not None:
        frame.recorded = True


def named(name: str, value: object) -> str:
    """Return an option or a field for an entry's ``what``: ``queue=mail``, or ``args=(hidden)``."""
    return f"{name}={'(hidden)' if any(part in name for part in HIDDEN) else value}"


def _actor(by: str) -> tuple[str, str]:
    """Return who acts and through which interface: the given name, else the person of the current frame, else the user
    of this machine.
    """
    frame = _frame.get()
    if frame is None:
        return by or whoami(), "python"
    return by or frame.by, frame.face
