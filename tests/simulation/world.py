"""Simulated time and the greenlets that live in it: whoever is due next runs, up to its next request."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

from greenlet import GreenletExit, getcurrent, greenlet

from tests.support.clock import START_MS


class Crash(BaseException):
    """The process dies here. Not an `Exception`: nothing may catch it."""


class Broken(BaseException):
    """A promise was broken. Not an `Exception`: recovery goes on after those, and the judge must not be overheard.

    Attributes
    ----------
    rule : str
        Its name; a shrunk run must break the same one.
    """

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule


class World:
    """The hub: a heap of greenlets by the time at which they go on. Times are epoch milliseconds.

    Attributes
    ----------
    now : int
        The true time, which no process knows exactly.
    calm : bool
        Whether the faults have stopped.
    """

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.seed = seed
        self.now = START_MS
        self.calm = False
        self.random = self.stream("world")
        self.trace: list[str] | None = [] if traced else None
        self._due: list[tuple[int, float, int, greenlet]] = []
        self._count = 0
        self._hub = getcurrent()
        self._broken: BaseException | None = None

    def stream(self, name: str) -> Random:
        """Give random numbers of one's own: leaving one actor out does not change what the others draw."""
        return Random(f"{self.seed}/{name}")

    def note(self, who: str, what: str) -> None:
        """Write a line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{(self.now - START_MS) / 1000:10.3f}  {who:<12} {what}")

    def spawn(self, name: str, run: Callable[[], None], *, after: int = 0) -> None:
        """Start a process."""

        def process() -> None:
            try:
                run()
            except Crash:
                self.note(name, "CRASHES")
            except GreenletExit:
                pass
            except BaseException as error:  # noqa: BLE001 - whatever it is, the run has failed
                self._broken = error

        self._push(after, greenlet(process, parent=self._hub))

    def pause(self, milliseconds: int) -> None:
        """Let others run for that long."""
        self._push(milliseconds, getcurrent())
        self._hub.switch()

    def run(self, until: Callable[[], bool]) -> None:
        """Run until something holds, looked at between any two steps; raise what a process raised."""
        while self._due and not until():
            at, _, _, process = heapq.heappop(self._due)
            self.now = max(self.now, at)
            process.switch()
            if self._broken is not None:
                raise self._broken

    def end(self) -> None:
        """Unwind all processes that are left."""
        for _, _, _, process in self._due:
            process.throw(GreenletExit)
        self._due.clear()

    def _push(self, after: int, process: greenlet) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + after, self.random.random(), self._count, process))
