"""Carries out the strikes: each begins at its time and ends when it is over, or when the run's faults stop."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Event
from typing import Final

from tests.chaos import crew as crews
from tests.chaos.crew import Crew, Member, Role
from tests.chaos.plan import Kind, Strike
from tests.chaos.weather import QUEUE, TABLE, Weather
from tests.support.faults import FaultyProxy

TICK_SECONDS: Final = 0.1
ROLES: Final[dict[Kind, Role]] = {Kind.KILL_RECOVERY: "recovery", Kind.DEPLOY_RECOVERY: "recovery"}
End = Callable[[], None]


class Monkey:
    """Strikes.

    Attributes
    ----------
    struck, missed : Counter
        Strikes by kind: those that hit, and those that found nobody to hit.
    """

    def __init__(self, crew: Crew, table: FaultyProxy, queue: FaultyProxy, weathers: tuple[Weather, Weather]) -> None:
        self._crew = crew
        self._table, self._queue = table, queue
        self._over_table, self._over_queue = weathers
        self._numbers = itertools.count()
        self._outages: Counter[int] = Counter()
        self.struck: Counter[Kind] = Counter()
        self.missed: Counter[Kind] = Counter()

    def run(self, strikes: Iterable[Strike], seconds: float, each_tick: Callable[[float], None], stop: Event) -> None:
        """Carry out all strikes within so many seconds; whatever lasts longer is ended then."""
        began = time.monotonic()
        waiting = sorted(strikes, key=lambda strike: strike.at)[::-1]
        ends: list[tuple[float, int, End]] = []
        try:
            while (now := time.monotonic() - began) < seconds and not stop.is_set():
                while waiting and waiting[-1].at <= now:
                    strike = waiting.pop()
                    if end := self._begin(strike):
                        heapq.heappush(ends, (now + strike.seconds, next(self._numbers), end))
                while ends and ends[0][0] <= now:
                    heapq.heappop(ends)[2]()
                self._crew.replace_the_dead()
                each_tick(now)
                stop.wait(TICK_SECONDS)
        finally:
            for _, _, end in ends:
                end()
            self._over_table.clear()
            self._over_queue.clear()

    def _begin(self, strike: Strike) -> End | None:
        """Begin a strike; gives what ends it, ``None`` where nothing has to."""
        if (fault := TABLE.get(strike.kind)) is not None:
            return self._storm(strike, self._over_table, fault)
        if (fault := QUEUE.get(strike.kind)) is not None:
            return self._storm(strike, self._over_queue, fault)
        if strike.kind in (Kind.TABLE_OUTAGE, Kind.QUEUE_OUTAGE):
            return self._outage(strike.kind, self._table if strike.kind is Kind.TABLE_OUTAGE else self._queue)
        member = self._crew.pick(ROLES.get(strike.kind, "worker"), strike.draw)
        if member is None or (strike.kind in (Kind.KILL_CHILD, Kind.FREEZE_CHILD) and not member.children()):
            self.missed[strike.kind] += 1
            return None
        self.struck[strike.kind] += 1
        return self._hit(strike, member)

    def _storm(self, strike: Strike, weather: Weather, fault: object) -> End:
        number = next(self._numbers)
        weather.begin(number, fault, strike.share)  # type: ignore[arg-type]
        self.struck[strike.kind] += 1
        return lambda: weather.end(number)

    def _outage(self, kind: Kind, proxy: FaultyProxy) -> End | None:
        """Nobody listens; an outage during another one of the same service is the same."""
        if self._outages[id(proxy)]:
            self.missed[kind] += 1
            return None
        self.struck[kind] += 1
        self._outages[id(proxy)] = 1
        proxy.refuse()

        def end() -> None:
            self._outages[id(proxy)] = 0
            proxy.accept()

        return end

    def _hit(self, strike: Strike, member: Member) -> End | None:
        kind = strike.kind
        if kind in (Kind.KILL_WORKER, Kind.KILL_RECOVERY):
            self._crew.kill(member)
        elif kind in (Kind.DEPLOY, Kind.DEPLOY_RECOVERY):
            self._crew.deploy(member)
        elif kind is Kind.FREEZE_WORKER:
            return self._freeze(member, member.process.pause, member.process.resume)
        else:
            children = member.children()
            pid = children[int(strike.draw * 997) % len(children)]
            if kind is Kind.FREEZE_CHILD:
                return self._freeze(member, lambda: crews.freeze(pid), lambda: crews.thaw(pid))
            crews.kill_process(pid)
        return None

    @staticmethod
    def _freeze(member: Member, freeze: End, thaw: End) -> End:
        member.frozen = True
        freeze()

        def end() -> None:
            thaw()
            member.frozen = False

        return end
