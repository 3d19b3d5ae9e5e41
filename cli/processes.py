"""Child processes, each in its own process group and ended by its own handle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import jobclaim
from jobclaim.cli.host_app import app_name

POLL_SECONDS: Final = 0.05
STOP_SECONDS: Final = 10.0
INTERRUPTS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Child:
    """A running process with all its descendants.

    Parameters
    ----------
    name : str
        Name in messages and in the prefix of its lines.
    argv : sequence of str
        Program and arguments; no shell.
    env : mapping
        The whole environment.
    output : Path or callable
        A file to which its output is appended, or a function that receives each line.
    cwd : Path, optional
        Working directory; default this process's.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        output: Path | Callable[[str], None],
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        options: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            "env": dict(env),
            "cwd": cwd,
            "start_new_session": True,
        }
        self._reader: threading.Thread | None = None
        if isinstance(output, Path):
            with output.open("ab") as log:
                self._process: subprocess.Popen[Any] = _popen(argv, log, options)
        else:
            self._process = _popen(argv, subprocess.PIPE, options | {"text": True, "errors": "replace"})
            assert self._process.stdout is not None
            self._reader = threading.Thread(target=_read, args=(self._process.stdout, output), daemon=True)
            self._reader.start()

    @property
    def pid(self) -> int:
        """Return the process id of the leader, which is also the id of its group."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """Return the exit code, minus the signal that ended it, or ``None`` while it runs. Does not reap it."""
        if self._process.returncode is not None:
            return self._process.returncode
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def ask_to_end(self) -> None:
        """Send SIGTERM to the leader alone, which ends its children itself after their jobs."""
        if self.exit_status() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the whole group at once, as a power failure does."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._reader is not None:
            self._reader.join(timeout=1.0)

    def end(self, timeout: float = STOP_SECONDS) -> None:
        """Send SIGTERM, wait, and kill what is left of its group after ``timeout`` seconds."""
        self.ask_to_end()
        deadline = time.monotonic() + timeout
        try:
            while self.exit_status() is None and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        finally:
            self.kill()


def start_child(children: list[Child], name: str, argv: Sequence[str], **options: Any) -> Child:
    """Start a process and add it to ``others``; an interrupt is delayed until then, so the code that ends them ends it
    too.
    """
    with _uninterrupted():
        child = Child(name, argv, **options)
        children.append(child)
    return child


def end_all(children: Iterable[Child], timeout: float = STOP_SECONDS) -> None:
    """Send SIGTERM to all, then end each; an interrupt meanwhile kills instead of waiting."""
    started = list(children)
    for child in started:
        child.ask_to_end()
    try:
        for child in started:
            child.end(timeout)
    finally:
        for child in started:
            child.kill()


@contextlib.contextmanager
def signals_as_interrupt() -> Iterator[Callable[[], None]]:
    """Treat SIGTERM and a closed terminal as Ctrl-C, so that every ``finally`` still ends its processes.

    Yields a check for loops and steps to call. Python drops an exception that is raised within a destructor; the check
    raises an interrupt that was dropped that way.
    """
    interrupted = False

    def interrupt(*_: Any) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    ignored = {signal.SIGINT} if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, interrupt) for number in INTERRUPTS if number not in ignored}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C, SIGTERM and SIGHUP until the block ends. Other threads need no protection: signals interrupt the
    main thread only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handled = [number for number in INTERRUPTS if callable(signal.getsignal(number))]
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(signal.Signals(received[0]))


def celery(*arguments: str) -> list[str]:
    """Return Celery's command line for the app of ``--app``, else the default app, in this interpreter."""
    return [sys.executable, "-m", "celery", "-A", app_name(), *arguments]


def worker(name: str, *, queues: Sequence[str], concurrency: int) -> list[str]:
    """Return the command line of a prefork worker."""
    return celery("worker", "-n", f"{name}@%h", "-Q", ",".join(queues), "-c", str(concurrency))


def beat(schedule: Path) -> list[str]:
    """Return the command line of beat with this schedule file and no pid file."""
    return celery("beat", "-s", str(schedule), "--pidfile=")


def importable() -> str:
    """Return ``PYTHONPATH`` for children: the folder that this code was imported from comes first."""
    root = str(Path(jobclaim.__file__).parents[1])  # not the package's own folder: a host app may have its own `jobs`
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def _read(stream: IO[str], write_line: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            write_line(line.rstrip("\n"))


def _popen(argv: Sequence[str], stdout: Any, options: Mapping[str, Any]) -> subprocess.Popen[Any]:
    return subprocess.Popen(argv, stdout=stdout, **options)
