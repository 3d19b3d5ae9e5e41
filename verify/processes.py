"""Real processes, each in a session of its own, and each ended by its own handle."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from jobclaim.verify.waiting import wait_until

STOP_SECONDS = 10.0
TAIL_LINES = 40


class ProcessDied(AssertionError):
    """A process ended while the test still waited for something from it."""


class Leader(Protocol):
    """The part of `subprocess.Popen` that is used here."""

    pid: int
    returncode: int | None

    def wait(self) -> int:
        """Wait until it ends and return its exit code."""


class ManagedProcess:
    """A child process with its output in a file; as a context manager it never outlives its block.

    The leader is not reaped before `stop`, so its process group keeps its number and a late signal cannot reach another
    process.

    Parameters
    ----------
    name : str
        Used in messages and as the log file's name.
    argv : sequence of str
        The program and its arguments; no shell.
    log_dir : Path
        Folder for ``<name>.log``, with standard output and error in the order written.
    env : mapping, optional
        The whole environment; ``None`` inherits this process's.
    cwd : Path, optional
        Working directory.
    stop_seconds : float
        Seconds between SIGTERM and SIGKILL at the end of the block; 0 for a process that may be killed at once.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_dir: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.name = name
        self.argv = list(argv)
        self.log_path = log_dir / f"{name}.log"
        self._env = None if env is None else dict(env)
        self._cwd = cwd
        self._stop_seconds = stop_seconds
        self._process: Leader | None = None

    def start(self) -> Self:
        """Start the process; an earlier log of the same name is appended to."""
        if self._process is not None and self._process.returncode is None:
            raise RuntimeError(f"{self.name} is started already; stop it first")
        with self.log_path.open("ab") as log:
            self._process = self._spawn(log)
        return self

    def _spawn(self, log: BinaryIO) -> Leader:
        return subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=self._env,
            cwd=self._cwd,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            sys.stdout.write(self.describe() + "\n")
        self.stop(self._stop_seconds)

    @property
    def pid(self) -> int:
        """Process id of the leader, which is the group's id too."""
        return self._started().pid

    @property
    def running(self) -> bool:
        """Whether the leader has not ended yet."""
        return self._exit_status() is None

    def wait_for_exit(self, timeout: float) -> int:
        """Wait until the leader ends; return its exit code, or minus the signal that ended it."""
        wait_until(lambda: not self.running, timeout, lambda: f"{self.name} ends\n{self.describe()}")
        status = self._exit_status()
        assert status is not None
        return status

    def wait_for_line(self, pattern: str, timeout: float, *, after: int = 0) -> str:
        """Wait for a log line that matches the regular expression `pattern`, and return that line.

        `after` skips that many characters of the log: pass ``len(process.log())`` to wait for something new.
        """
        compiled = re.compile(pattern)

        def find() -> str | None:
            ended = not self.running  # before the log is read, so that a process's last lines count
            lines = self.log()[after:].splitlines(keepends=True)
            if lines and not ended and not lines[-1].endswith("\n"):
                lines.pop()  # it is still being written
            found = next((line.rstrip("\n") for line in lines if compiled.search(line.rstrip("\n"))), None)
            if found is None and ended:
                raise ProcessDied(f"{self.name} ended before it wrote /{pattern}/\n{self.describe()}")
            return found

        return wait_until(find, timeout, lambda: f"{self.name} writes /{pattern}/\n{self.describe()}") or ""

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the leader alone: ``SIGKILL`` is a crash that it cannot handle."""
        if self.running:
            os.kill(self.pid, number)

    def send_group(self, number: signal.Signals) -> None:
        """Send a signal to the leader and all its children."""
        if self._started().returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def pause(self) -> None:
        """Freeze the whole group: a peer that accepts connections and never answers."""
        self.send_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a frozen group."""
        self.send_group(signal.SIGCONT)

    def stop(self, timeout: float = STOP_SECONDS) -> int:
        """Ask the leader to end, after `timeout` seconds kill what is left of the group; return the exit code."""
        process = self._started()
        if process.returncode is None:
            self.resume()
            self.send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                wait_until(lambda: not self.running, timeout, self.name)
            self.send_group(signal.SIGKILL)
        return process.wait()

    def log(self) -> str:
        """All output so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def tail(self, lines: int = TAIL_LINES) -> str:
        """The last lines of the output."""
        return "\n".join(self.log().splitlines()[-lines:])

    def describe(self) -> str:
        """State and last output, for the message of a failing test."""
        status = self._exit_status()
        state = "running" if status is None else f"ended with {status}"
        return f"--- {self.name} (pid {self.pid}, {state}), end of its log:\n{self.tail()}\n---"

    def _started(self) -> Leader:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started; use it as a context manager or call start()")
        return self._process

    def _exit_status(self) -> int | None:
        process = self._started()
        if process.returncode is not None:
            return process.returncode
        ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
