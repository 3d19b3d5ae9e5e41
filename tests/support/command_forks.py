"""Runs command lines in forks of one process that has everything imported: processes, in a tenth of the time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

POLL_SECONDS = 0.01


class CommandForks:
    """The process that is forked, with one environment for all; as a context manager it never outlives its block."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(environment),
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        answer: str = "",
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``jobclaim ...`` or ``celery ...`` to its end; one that goes on longer than ``timeout`` s is killed."""
        files = {name: cwd.parent / f"fork.{name}" for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_text(answer)
        asked = {"argv": list(argv), "cwd": str(cwd), "timeout": timeout, "env": dict(env or {})}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked | {name: str(path) for name, path in files.items()}) + "\n")
        self._process.stdin.flush()
        status = self._process.stdout.readline()
        assert status, "the process that is forked has ended; its log says why"
        out, err = files["stdout"].read_text(), files["stderr"].read_text()
        return subprocess.CompletedProcess(list(argv), json.loads(status), out, err)


def serve() -> None:
    """Answer each line of standard input with the exit status of the command that it asks for."""
    from jobclaim.cli.catalog import COMMANDS

    for module in (
        "celery.bin.celery",
        "boto3",
        "rich.table",
        "jobclaim.workers.apps",
        "jobclaim.cli.main",
        "jobclaim.cli.job_view",
    ):
        import_module(module)
    for name in COMMANDS:
        import_module(f"jobclaim.cli.commands.{name}")
    sys.path.pop(0)  # where this process happened to start: a console script has no such entry
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(asked)
        print(_status(pid, asked["timeout"]), file=answers, flush=True)


def _become(asked: Mapping[str, Any]) -> None:
    """Turn this fork into the command; never returns."""
    code: Any = 1
    try:
        os.setsid()
        for number, (name, flags) in enumerate((("stdin", os.O_RDONLY), ("stdout", _WRITE), ("stderr", _WRITE))):
            os.dup2(os.open(asked[name], flags, 0o600), number)
        os.chdir(asked["cwd"])
        os.environ.update(asked["env"])
        sys.argv = list(asked["argv"])
        _main(sys.argv[0])()
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    except BaseException:  # noqa: BLE001 - a fork must end here, whatever it does
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _main(program: str) -> Any:
    module = {"jobclaim": "jobclaim.cli.main", "celery": "celery.__main__"}[program]
    return import_module(module).main


def _status(pid: int, timeout: float) -> int:
    deadline = time.monotonic() + timeout
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(POLL_SECONDS)


_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

if __name__ == "__main__":
    serve()
