"""Processes of tests that start for a sixth of the CPU: forked from one process that has everything imported.

Such a process is what an interpreter with the same words would become: a child of the test, leader of a session, with
its own arguments, environment, working directory and files, and with its own program as ``__main__``. It has only
imported less, and importing has no other effect (``tests/unit/test_imports.py``). A test of how a program starts, or of
what it imports, starts an interpreter: `ManagedProcess`.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import Any, BinaryIO

import boto3

from tests.support import cheap_clients, cheap_moto
from tests.support.processes import ManagedProcess

ROOT = Path(__file__).parents[2]
PATCHING = {"eventlet", "gevent"}
"""Pools that patch the standard library, which is too late once anything has imported it."""
MODULES = (
    "billiard.synchronize",
    "celery.__main__",
    "celery.apps.worker",
    "celery.beat",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.events.receiver",
    "celery.worker.consumer",
    "jobclaim.cli.job_view",
    "jobclaim.cli.main",
    "jobclaim.infra",
    "jobclaim.workers.apps",
    "jobclaim.workers.process.alive",
    "jobclaim.workers.process.steps",
    "jobclaim.workers.results.backend",
    "jobclaim.workers.transport",
    "prettytable.prettytable",
)
PROGRAMS = {"celery": "celery.__main__", "jobclaim": "jobclaim.cli.main"}
"""Where the console scripts' functions ``main`` are."""
PR_SET_CHILD_SUBREAPER = 36
MOST_BYTES = 1 << 20


class WarmProcess(ManagedProcess):
    """A `ManagedProcess` that is forked: Python with ``-m``, ``-c`` or a file, or one of `PROGRAMS`."""

    def _spawn(self, log: BinaryIO) -> Any:
        if PATCHING.intersection(self.argv):
            return super()._spawn(log)
        with Path(os.devnull).open("rb") as nothing:
            return Forked(self.argv, self._env, self._cwd, (nothing, log, log))


def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    answer: str = "",
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Fork a command, as `WarmProcess` does, and wait for its end; after `timeout` seconds its session is killed."""
    with TemporaryFile() as given, TemporaryFile() as output, TemporaryFile() as errors:
        given.write(answer.encode())
        given.seek(0)
        child = Forked(argv, env, cwd, (given, output, errors))
        if not child.ends_within(timeout):
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
            raise subprocess.TimeoutExpired(list(argv), timeout, _text(output), _text(errors))
        return subprocess.CompletedProcess(list(argv), child.wait(), _text(output), _text(errors))


def _text(file: BinaryIO) -> Any:
    file.seek(0)
    return file.read().decode()


class Forked:
    """A forked child of this process, as `subprocess.Popen` shows one."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None, files: Sequence[BinaryIO]
    ) -> None:
        asked = {"argv": list(argv), "env": dict(os.environ if env is None else env), "cwd": str(cwd or Path.cwd())}
        self.pid = _forker().fork(json.dumps(asked).encode(), [file.fileno() for file in files])
        self.returncode: int | None = None

    def ends_within(self, seconds: float) -> bool:
        """Wait for the end, without reaping."""
        descriptor = os.pidfd_open(self.pid)
        try:
            return bool(select.select([descriptor], [], [], seconds)[0])
        finally:
            os.close(descriptor)

    def wait(self) -> int:
        """Wait for the end and reap; give the exit code, or minus the signal that ended it."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode


class Forker:
    """The process that is forked; it ends with the test run."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def fork(self, asked: bytes, files: Sequence[int]) -> int:
        """Have a process forked that this one, not the forker, is the parent of; give its id."""
        _adopt_orphans(True)
        try:
            socket.send_fds(self._socket, [asked], files)
            answer = self._socket.recv(MOST_BYTES)
        finally:
            _adopt_orphans(False)
        assert answer, "the process that is forked has ended; it wrote why to standard error"
        return int(answer)


@functools.cache
def _forker() -> Forker:
    return Forker()


def _adopt_orphans(wanted: bool) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


# --- in the forker
def main() -> None:
    """Fork for each request until the test run ends; a forked process goes on as what was asked for."""
    _prepare()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        while received := _receive(connection):
            if _fork(connection):
                break
            for descriptor in received[1]:
                os.close(descriptor)
    if received:
        _become(*received)


def _prepare() -> None:
    from jobclaim.cli.catalog import COMMANDS

    for name in (*MODULES, *(f"jobclaim.cli.commands.{command}" for command in COMMANDS)):
        import_module(name)
    cheap_clients.install()
    cheap_moto.install()
    for service in ("dynamodb", "sqs"):
        session: Any = boto3.session.Session("none", "none", region_name="us-east-1")
        session.client(service)
    gc.collect()
    gc.freeze()


def _receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    message, descriptors, _, _ = socket.recv_fds(connection, MOST_BYTES, 3)
    return (json.loads(message), descriptors) if message else None


def _fork(connection: socket.socket) -> bool:
    """Fork twice, so that the test adopts the grandchild, and send its id; true in the grandchild."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        between = os.getpid()
        if os.fork():
            os._exit(0)
        while os.getppid() == between:  # until the test is the parent
            time.sleep(0.0002)
        os.setsid()
        os.write(writing, str(os.getpid()).encode())
    else:
        os.waitpid(child, 0)
        connection.send(os.read(reading, MOST_BYTES))
    os.close(reading)
    os.close(writing)
    return child == 0


def _become(asked: dict[str, Any], files: list[int]) -> None:
    for number, descriptor in enumerate(files):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through="PYTHONUNBUFFERED" in os.environ)  # type: ignore[union-attr]
    own = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    found = [*own, *sys.path[2:]]  # behind the forker's working directory and its own PYTHONPATH
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]  # a project may have its own
    try:
        _run(asked["argv"], found)
    except SystemExit as ended:
        if not isinstance(ended.code, int | None):
            raise
        _end(ended.code or 0)
    _end(0)


def _end(code: int) -> None:
    """End as an interpreter does, but leave the modules where they are: to free them copies most of the memory."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(argv: list[str], found: list[str]) -> None:
    """Run a program with the module search path and the arguments that an interpreter would give it."""
    name = Path(argv[0]).name
    if name in PROGRAMS:
        sys.path[:], sys.argv[:] = found, argv
        sys.exit(import_module(PROGRAMS[name]).main())
    kind, *words = argv[1:]
    if kind == "-m":
        sys.path[:], sys.argv[:] = [str(Path.cwd()), *found], words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[:], sys.argv[:] = ["", *found], ["-c", *words[1:]]
        program = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), program.__dict__)  # noqa: S102
    else:
        sys.path[:], sys.argv[:] = [str(Path(kind).absolute().parent), *found], argv[1:]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    main()
