"""Carry out the schedule of faults: each begins at its time and ends when it is over, or when the run's faults stop."""

from __future__ import annotations

import heapq
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Event
from typing import Final

from jobclaim.verify.busy_processes import BusyProcesses
from jobclaim.verify.faults import Fault
from jobclaim.verify.fleet import Member, ProcessFleet, Role, freeze, kill_process, now_ms, thaw
from jobclaim.verify.injector import QUEUE, TABLE, FaultInjector
from jobclaim.verify.plan import OUTAGES, FaultKind, ScheduledFault
from jobclaim.verify.proxy import FaultyProxy

TICK_SECONDS: Final = 0.1
STALLED_SECONDS: Final = 1.0
TARGET_WAIT_SECONDS: Final = 20.0
BUSY_WAIT_SECONDS: Final = 10.0
ROLES: Final[dict[FaultKind, Role]] = {FaultKind.KILL_RECOVERY: "recovery", FaultKind.DEPLOY_RECOVERY: "recovery"}
NEED_BUSY_PROCESS: Final = (
    FaultKind.KILL_CHILD,
    FaultKind.KILL_WORKER,
    FaultKind.FREEZE_CHILD,
    FaultKind.FREEZE_WORKER,
    FaultKind.FREEZE_UNTIL_LOST,
)
"""Faults that wait for a process that is running a body; otherwise most would hit processes between two jobs.

If no process runs a body for a while, any process is hit."""
End = Callable[[], None]


class FaultScheduler:
    """Carries out the scheduled faults.

    Attributes
    ----------
    injected, without_target : Counter
        Faults by kind: those that were injected, and those that found no target.
    disturbances : list of pair
        Periods in which heartbeats may have failed although their workers were healthy, epoch milliseconds: while
        requests to the table had faults, and while this process itself stood still because the machine did.
    """

    def __init__(
        self,
        fleet: ProcessFleet,
        table: FaultyProxy,
        queue: FaultyProxy,
        injectors: tuple[FaultInjector, FaultInjector],
        busy_processes: BusyProcesses,
    ) -> None:
        self._fleet = fleet
        self._table, self._queue = table, queue
        self._table_injector, self._queue_injector = injectors
        self._busy_processes = busy_processes
        self._numbers = itertools.count()
        self._outages: Counter[int] = Counter()
        self.disturbances: list[tuple[int, int]] = []
        self.injected: Counter[FaultKind] = Counter()
        self.without_target: Counter[FaultKind] = Counter()

    def run(
        self, schedule: Iterable[ScheduledFault], seconds: float, each_tick: Callable[[float], None], stop: Event
    ) -> None:
        """Carry out all scheduled faults within so many seconds; faults that last longer are ended then.

        A fault without a target waits for one, for a while beyond the end if necessary.
        """
        began = time.monotonic()
        waiting = sorted(schedule, key=lambda scheduled: scheduled.at)
        ends: list[tuple[float, int, End]] = []
        try:
            last = began
            while (now := time.monotonic() - began) < seconds + (TARGET_WAIT_SECONDS if waiting else 0):
                due, waiting = _split(waiting, now)
                waiting = [scheduled for scheduled in due if not self._begin(scheduled, now, ends)] + waiting
                while ends and ends[0][0] <= now:
                    heapq.heappop(ends)[2]()
                self._fleet.replace_ended()
                each_tick(now)
                if time.monotonic() - last > STALLED_SECONDS:
                    self._record_disturbance(time.monotonic() - last)
                last = time.monotonic()
                if stop.wait(TICK_SECONDS):
                    break
        finally:
            self.without_target.update(scheduled.kind for scheduled in waiting)
            for _, _, end in ends:
                end()
            self._table_injector.clear()
            self._queue_injector.clear()

    def _begin(self, scheduled: ScheduledFault, now: float, ends: list[tuple[float, int, End]]) -> bool:
        """Begin a fault and schedule its end; return ``False`` if there is no target now."""
        end = self._inject(scheduled, now - scheduled.at)
        if end is None:
            return False
        self.injected[scheduled.kind] += 1
        if scheduled.kind in TABLE or scheduled.kind is FaultKind.TABLE_OUTAGE:
            self._record_disturbance(-scheduled.seconds)
        heapq.heappush(ends, (now + scheduled.seconds, next(self._numbers), end))
        return True

    def _record_disturbance(self, seconds: float) -> None:
        """Record a disturbance: the last ``seconds``, or the coming ones if negative."""
        now, other_end = now_ms(), now_ms() - round(1000 * seconds)
        self.disturbances.append((min(now, other_end), max(now, other_end)))

    def _inject(self, scheduled: ScheduledFault, waited: float) -> End | None:
        if (fault := TABLE.get(scheduled.kind)) is not None:
            return self._inject_request_fault(scheduled, self._table_injector, fault)
        if (fault := QUEUE.get(scheduled.kind)) is not None:
            return self._inject_request_fault(scheduled, self._queue_injector, fault)
        if scheduled.kind in OUTAGES:
            return self._inject_outage(self._table if scheduled.kind is FaultKind.TABLE_OUTAGE else self._queue)
        prefer = scheduled.kind is FaultKind.KILL_CHILD
        running = (
            self._busy_processes.children(prefer_fragile=prefer)
            if scheduled.kind in NEED_BUSY_PROCESS and waited < BUSY_WAIT_SECONDS
            else None
        )
        member = self._fleet.pick(ROLES.get(scheduled.kind, "worker"), scheduled.target, running)
        child = (running or {}).get(member.process.pid) or member.child() if member is not None else None
        return (
            self._inject_process_fault(scheduled, member, child) if member is not None and child is not None else None
        )

    def _inject_request_fault(self, scheduled: ScheduledFault, injector: FaultInjector, fault: Fault) -> End:
        number = next(self._numbers)
        injector.begin(number, fault, scheduled.share)
        return lambda: injector.end(number)

    def _inject_outage(self, proxy: FaultyProxy) -> End | None:
        """Refuse connections to a service; ``None`` during another outage of it, after which this one is
        tried again.
        """
        if self._outages[id(proxy)]:
            return None
        self._outages[id(proxy)] = 1
        proxy.refuse()

        def end() -> None:
            self._outages[id(proxy)] = 0
            proxy.accept()

        return end

    def _inject_process_fault(self, scheduled: ScheduledFault, member: Member, child: int) -> End | None:
        kind = scheduled.kind
        member.first_fault_at = member.first_fault_at or now_ms()
        if kind in (FaultKind.KILL_WORKER, FaultKind.KILL_RECOVERY):
            self._fleet.kill(member)
        elif kind in (FaultKind.DEPLOY, FaultKind.DEPLOY_RECOVERY):
            self._fleet.deploy(member)
        elif kind is FaultKind.KILL_CHILD:
            kill_process(child)
        elif kind is FaultKind.FREEZE_CHILD:
            return self._freeze(member, lambda: freeze(child), lambda: thaw(child))
        else:
            return self._freeze(member, member.process.pause, member.process.resume)
        return _nothing

    @staticmethod
    def _freeze(member: Member, begin: End, finish: End) -> End:
        member.frozen = True
        begin()

        def end() -> None:
            finish()
            member.frozen = False

        return end


def _split(schedule: list[ScheduledFault], now: float) -> tuple[list[ScheduledFault], list[ScheduledFault]]:
    """Split scheduled faults into those that are due and the others."""
    due = sum(scheduled.at <= now for scheduled in schedule)
    return schedule[:due], schedule[due:]


def _nothing() -> None:
    """Do nothing: the fault had no duration, so there is nothing to end."""
