"""The processes of a run: workers and recovery, killed, frozen and replaced by the fault scheduler."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from jobclaim.verify.deployment import READY, Deployment
from jobclaim.verify.plan import Scale
from jobclaim.verify.processes import ManagedProcess
from jobclaim.verify.waiting import wait_until

Role = Literal["worker", "recovery"]
START_SECONDS: Final = 90.0
STOP_SECONDS: Final = 60.0


@dataclass
class Member:
    """One process with its children.

    Attributes
    ----------
    requested : str
        "stop" or "kill" once the scheduler has requested it; empty for a process that should keep running.
    frozen : bool
        Whether the scheduler has frozen it, or a child of it.
    first_fault_at, killed_at : int
        When a fault first hit it, and when its main process was killed: epoch milliseconds.
    """

    role: Role
    process: ManagedProcess
    requested: str = ""
    frozen: bool = False
    ready: bool = False
    first_fault_at: int = 0
    killed_at: int = 0

    def is_ready(self) -> bool:
        """Whether its log has shown that it is ready."""
        if not self.ready:
            self.ready = re.search(READY, self.process.log()) is not None
        return self.ready

    def child(self) -> int | None:
        """Process id of any of its children; ``None`` if it has none now."""
        pid = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            return int(children[0]) if children else None
        return None


class ProcessFleet:
    """All processes that were started in the run."""

    def __init__(self, deployment: Deployment, scale: Scale) -> None:
        self._deployment = deployment
        self._scale = scale
        self.members: list[Member] = []
        self.unexpected_exits: list[str] = []

    def start(self, role: Role) -> Member:
        """Start one more process, without waiting until it is ready."""
        name = f"{role}-{sum(member.role == role for member in self.members) + 1}"
        queues = {
            "worker": ["-Q", "default", "-c", str(self._scale.processes)],
            "recovery": ["-Q", "recovery", "-c", "1"],
        }
        beat = ["-B"] if role == "recovery" else []
        environment = {"JOBCLAIM_WORKER_NAME": name}
        member = Member(role, self._deployment.celery(name, "worker", *queues[role], *beat, env=environment))
        self.members.append(member)
        return member

    def start_all(self) -> None:
        """Start as many processes as the scale requires, and wait until they are ready."""
        for _ in range(self._scale.workers):
            self.start("worker")
        self.start("recovery")
        for member in self.members:
            member.process.wait_for_line(READY, START_SECONDS)

    def pick(self, role: Role, target: float, among: Container[int] | None = None) -> Member | None:
        """Pick a running, ready process that no fault has hit yet; ``None`` if there is none now.

        Parameters
        ----------
        among : container of int, optional
            Ids of the main processes to choose from; default: all.
        """
        free = [
            member
            for member in self.members
            if member.role == role
            and not (member.requested or member.frozen)
            and member.process.running
            and (among is None or member.process.pid in among)
            and member.is_ready()
        ]
        return free[int(target * len(free))] if free else None

    def kill(self, member: Member) -> None:
        """Send SIGKILL to its main process, and start another worker in its place."""
        member.requested = "kill"
        member.killed_at = now_ms()
        member.process.send(signal.SIGKILL)
        self.start(member.role)

    def deploy(self, member: Member) -> None:
        """Start its replacement, then ask it to end."""
        self.start(member.role)
        member.requested = "stop"
        member.process.send(signal.SIGTERM)

    def replace_ended(self) -> None:
        """Record processes that ended without a request, and start replacements."""
        for member in list(self.members):
            if not member.requested and not member.process.running:
                member.requested = "kill"
                self.unexpected_exits.append(f"{member.process.describe()}")
                self.start(member.role)

    def stop_all(self) -> None:
        """Ask all running processes to end, and wait; each must end in time, with exit code 0."""
        self.replace_ended()
        self._end_orphans()
        for member in self.members:
            if not member.requested and self._wait_until_ready(member):
                member.requested = "stop"
                member.process.send(signal.SIGTERM)
        for member in self.members:
            if member.requested == "stop":
                self._wait_for_exit(member)

    def _end_orphans(self) -> None:
        """Kill what killed workers left behind, as a service manager does: an embedded beat outlives its worker, and
        its ticks would come while table and queues are compared.
        """
        for member in self.members:
            if member.requested == "kill":
                member.process.send_group(signal.SIGKILL)

    def _wait_until_ready(self, member: Member) -> bool:
        """Wait until the process is ready; before that, SIGTERM would kill it instead of draining it."""
        try:
            return wait_until(member.is_ready, START_SECONDS, f"{member.process.name} is ready")
        except TimeoutError as error:
            self.unexpected_exits.append(f"{error}: {member.process.describe()}")
            return False

    def _wait_for_exit(self, member: Member) -> None:
        try:
            status = member.process.wait_for_exit(STOP_SECONDS)
        except TimeoutError as error:
            self.unexpected_exits.append(str(error))
            return
        if status != 0:
            self.unexpected_exits.append(f"asked to end, ended with {status}: {member.process.describe()}")


def now_ms() -> int:
    """Return the time, epoch milliseconds."""
    return time.time_ns() // 1_000_000


def kill_process(pid: int) -> None:
    """Send SIGKILL to one process, which may have ended by itself."""
    _signal(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    """Freeze one process (SIGSTOP)."""
    _signal(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    """Resume a frozen process."""
    _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
