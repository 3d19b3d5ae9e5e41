"""Carries out the strikes: each begins at its time and ends when it is over, or when the run's faults stop."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Event
from typing import Final

from jobclaim.verify import crew as crews
from jobclaim.verify.busy import Busy
from jobclaim.verify.crew import Crew, Member, Role
from jobclaim.verify.faults import Fault
from jobclaim.verify.plan import OUTAGES, Kind, Strike
from jobclaim.verify.proxy import FaultyProxy
from jobclaim.verify.weather import QUEUE, TABLE, Weather

TICK_SECONDS: Final = 0.1
STALLED_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 20.0
WAIT_FOR_WORK_SECONDS: Final = 10.0
ROLES: Final[dict[Kind, Role]] = {Kind.KILL_RECOVERY: "recovery", Kind.DEPLOY_RECOVERY: "recovery"}
AT_WORK: Final = (Kind.KILL_CHILD, Kind.KILL_WORKER, Kind.FREEZE_CHILD, Kind.FREEZE_WORKER, Kind.MAKE_ZOMBIE)
"""Strikes that wait for a process that is running a body; otherwise they would mostly hit processes between two jobs.

If no process runs a body for a while, the strike hits any process."""
End = Callable[[], None]


class Monkey:
    """Carries out the strikes.

    Attributes
    ----------
    struck, missed : Counter
        Strikes by kind: those that hit a process, and those that found no target.
    trouble : list of pair
        Periods in which heartbeats may have failed although their workers were healthy, epoch milliseconds: while
        requests to the table had faults, and while this process itself stood still because the machine did.
    """

    def __init__(
        self, crew: Crew, table: FaultyProxy, queue: FaultyProxy, weathers: tuple[Weather, Weather], busy: Busy
    ) -> None:
        self._crew = crew
        self._table, self._queue = table, queue
        self._over_table, self._over_queue = weathers
        self._busy = busy
        self._numbers = itertools.count()
        self._gone: Counter[int] = Counter()
        self.trouble: list[tuple[int, int]] = []
        self.struck: Counter[Kind] = Counter()
        self.missed: Counter[Kind] = Counter()

    def run(self, strikes: Iterable[Strike], seconds: float, each_tick: Callable[[float], None], stop: Event) -> None:
        """Carry out all strikes within so many seconds; faults that last longer are ended then.

        A strike without a target waits for one, for a while beyond the end if necessary.
        """
        began = time.monotonic()
        waiting = sorted(strikes, key=lambda strike: strike.at)
        ends: list[tuple[float, int, End]] = []
        try:
            last = began
            while (now := time.monotonic() - began) < seconds + (PATIENCE_SECONDS if waiting else 0):
                due, waiting = _split(waiting, now)
                waiting = [strike for strike in due if not self._begin(strike, now, ends)] + waiting
                while ends and ends[0][0] <= now:
                    heapq.heappop(ends)[2]()
                self._crew.replace_the_dead()
                each_tick(now)
                if time.monotonic() - last > STALLED_SECONDS:
                    self._note_trouble(time.monotonic() - last)
                last = time.monotonic()
                if stop.wait(TICK_SECONDS):
                    break
        finally:
            self.missed.update(strike.kind for strike in waiting)
            for _, _, end in ends:
                end()
            self._over_table.clear()
            self._over_queue.clear()

    def _begin(self, strike: Strike, now: float, ends: list[tuple[float, int, End]]) -> bool:
        """Begin a strike and schedule its end; return ``False`` if there is no target now."""
        end = self._strike(strike, now - strike.at)
        if end is None:
            return False
        self.struck[strike.kind] += 1
        if strike.kind in TABLE or strike.kind is Kind.TABLE_OUTAGE:
            self._note_trouble(-strike.seconds)
        heapq.heappush(ends, (now + strike.seconds, next(self._numbers), end))
        return True

    def _note_trouble(self, seconds: float) -> None:
        """Record a period of trouble: the last ``seconds``, or the coming ones if negative."""
        now, there = crews.now_ms(), crews.now_ms() - round(1000 * seconds)
        self.trouble.append((min(now, there), max(now, there)))

    def _strike(self, strike: Strike, waited: float) -> End | None:
        if (fault := TABLE.get(strike.kind)) is not None:
            return self._storm(strike, self._over_table, fault)
        if (fault := QUEUE.get(strike.kind)) is not None:
            return self._storm(strike, self._over_queue, fault)
        if strike.kind in OUTAGES:
            return self._outage(self._table if strike.kind is Kind.TABLE_OUTAGE else self._queue)
        prefer = strike.kind is Kind.KILL_CHILD
        running = (
            self._busy.children(prefer_fragile=prefer)
            if strike.kind in AT_WORK and waited < WAIT_FOR_WORK_SECONDS
            else None
        )
        member = self._crew.pick(ROLES.get(strike.kind, "worker"), strike.draw, running)
        child = (running or {}).get(member.process.pid) or member.child() if member is not None else None
        return self._hit(strike, member, child) if member is not None and child is not None else None

    def _storm(self, strike: Strike, weather: Weather, fault: Fault) -> End:
        number = next(self._numbers)
        weather.begin(number, fault, strike.share)
        return lambda: weather.end(number)

    def _outage(self, proxy: FaultyProxy) -> End | None:
        """Refuse connections to a service; ``None`` during another outage of it, after which this one is
        tried again.
        """
        if self._gone[id(proxy)]:
            return None
        self._gone[id(proxy)] = 1
        proxy.refuse()

        def end() -> None:
            self._gone[id(proxy)] = 0
            proxy.accept()

        return end

    def _hit(self, strike: Strike, member: Member, child: int) -> End | None:
        kind = strike.kind
        member.struck_at = member.struck_at or crews.now_ms()
        if kind in (Kind.KILL_WORKER, Kind.KILL_RECOVERY):
            self._crew.kill(member)
        elif kind in (Kind.DEPLOY, Kind.DEPLOY_RECOVERY):
            self._crew.deploy(member)
        elif kind is Kind.KILL_CHILD:
            crews.kill_process(child)
        elif kind is Kind.FREEZE_CHILD:
            return self._freeze(member, lambda: crews.freeze(child), lambda: crews.thaw(child))
        else:
            return self._freeze(member, member.process.pause, member.process.resume)
        return _nothing

    @staticmethod
    def _freeze(member: Member, freeze: End, thaw: End) -> End:
        member.frozen = True
        freeze()

        def end() -> None:
            thaw()
            member.frozen = False

        return end


def _split(strikes: list[Strike], now: float) -> tuple[list[Strike], list[Strike]]:
    """Split strikes into those that are due and the others."""
    due = sum(strike.at <= now for strike in strikes)
    return strikes[:due], strikes[due:]


def _nothing() -> None:
    """Do nothing: the strike had no duration, so there is nothing to end."""
