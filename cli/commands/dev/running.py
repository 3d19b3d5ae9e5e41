"""Run a local AWS, its workers and beat, with their output on one terminal."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.host_app import DEFAULT, app_name, see_this_folder
from jobclaim.cli.output import remark, say
from jobclaim.cli.processes import (
    POLL_SECONDS,
    Child,
    beat,
    end_all,
    importable,
    signals_as_interrupt,
    start_child,
    worker,
)
from jobclaim.infra import LocalAws, local_aws, provision
from jobclaim.settings import Settings

COLOURS: Final = ("cyan", "magenta", "blue", "yellow")
DASHBOARD_PORT: Final = 8484
OF_THIS_TERMINAL: Final = ("JOBCLAIM_APP", "JOBCLAIM_CONFIG", "JOBCLAIM_TASK_MODULES")
"""Variables that select tasks and settings. A terminal without them does not know any task."""
_printing = threading.Lock()


def run(
    settings: Settings,
    *,
    queues: Sequence[str],
    concurrency: int,
    port: int,
    dashboard_port: int | None = None,
    with_dashboard: bool = True,
) -> ExitCode:
    """Run until an interrupt (`ExitCode.OK`) or until one of the processes fails (`ExitCode.ERROR`)."""
    with (
        signals_as_interrupt() as check,
        local_aws(settings, port=port) as aws,
        tempfile.TemporaryDirectory() as scratch,
    ):
        provision(aws.settings)
        _print_environment(aws)
        children: list[Child] = []
        try:
            wait_for_modules(settings.task_modules)
            named = commands(settings, queues=queues, concurrency=concurrency, scratch=Path(scratch))
            if with_dashboard and _has_dashboard():
                named["dashboard"] = dashboard(settings, dashboard_port)
            printers = {name: Printer(name, COLOURS[n % len(COLOURS)]) for n, name in enumerate(named)}

            def start(name: str) -> None:
                own = {"JOBCLAIM_RUN_DIR": str(Path(scratch) / name)}  # so `jobclaim worker` does not manage it
                start_child(children, name, named[name], env=environment(aws) | own, output=printers[name])

            for name in named:
                start(name)
            return _watch(children, check, start)
        except KeyboardInterrupt:
            remark("\nStopping; running jobs get a few seconds. Ctrl-C again to kill.")
            return ExitCode.OK
        finally:
            end_all(children)


def commands(settings: Settings, *, queues: Sequence[str], concurrency: int, scratch: Path) -> dict[str, list[str]]:
    """Return the processes' names and command lines. Recovery has a worker of its own: it must not wait behind jobs."""
    mine = [name for name in (queues or settings.queue_names) if name != settings.recovery_queue]
    return {
        "worker": worker("worker", queues=mine or [settings.default_queue], concurrency=concurrency),
        "recovery": worker("recovery", queues=[settings.recovery_queue], concurrency=1),
        "beat": beat(scratch / "schedule"),
    }


def dashboard(settings: Settings, port: int | None) -> list[str]:
    """Return the dashboard's command line. A visitor may act without sign-in: the deployment is the developer's own.

    Parameters
    ----------
    port : int, optional
        Default `DASHBOARD_PORT`, or a free one if that is in use.
    """
    if port is None:
        port = DASHBOARD_PORT if _is_free(DASHBOARD_PORT) else 0
    signs_in = settings.dashboard_users or settings.dashboard_alb
    acting = [] if signs_in else ["--operator"]
    return [sys.executable, "-m", "jobclaim", "dashboard", "--port", str(port), *acting]


def _has_dashboard() -> bool:
    if all(find_spec(name) for name in ("jinja2", "jwt", "starlette", "uvicorn")):
        return True
    remark("The dashboard is not running; it needs `pip install 'jobclaim[dashboard]'`.")
    return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def environment(aws: LocalAws, parent: Mapping[str, str] | None = None) -> dict[str, str]:
    """Build the environment of a child: the parent's, pointed at the local AWS.

    Unless set otherwise, log lines are plain text, and the dashboard redacts nothing: the jobs are the developer's own.
    """
    inherited = dict(os.environ if parent is None else parent)
    inherited.setdefault("JOBCLAIM_LOG_FORMAT", "console")
    for name, value in (("dashboard_arguments", "*"), ("dashboard_results", "true")):
        if name not in aws.settings.model_fields_set:
            inherited.setdefault(f"JOBCLAIM_{name.upper()}", value)
    return inherited | aws.environment() | {"PYTHONPATH": importable(), "PYTHONUNBUFFERED": "1"}


class Printer:
    """Writes lines one at a time, each prefixed with the name of its process."""

    def __init__(self, name: str, color: str) -> None:
        self._prefix = click.style(f"{name:<9} |", fg=color)

    def __call__(self, line: str) -> None:
        """Write one line."""
        with _printing:
            say(line, prefix=f"{self._prefix} ")


def _print_environment(aws: LocalAws) -> None:
    remark(f"A local AWS runs at {aws.endpoint_url}, with all tables and queues. For other terminals:\n")
    for name, value in aws.environment().items():
        say(f"export {name}={shlex.quote(value)}")
    for name in OF_THIS_TERMINAL:
        if given := os.environ.get(name):
            say(f"export {name}={shlex.quote(given)}")
    if not aws.settings.task_modules and app_name() == DEFAULT:
        remark(
            "\nNo task modules are set, so the worker does not know your tasks. Set them and start again, for "
            "example JOBCLAIM_TASK_MODULES='[\"tasks\"]' for tasks.py, or name your Celery app by --app."
        )
    remark("")


def wait_for_modules(names: Sequence[str], *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until the packages of the task modules exist, so that the first task can be written meanwhile.

    A worker that starts without them ends with a traceback. No module is imported.
    """
    see_this_folder()
    reported: list[str] = []
    while missing := [name for name in names if find_spec(name.partition(".")[0]) is None]:
        if missing != reported:
            listed = ", ".join(repr(name) for name in missing)
            remark(f"Waiting for {listed}, of JOBCLAIM_TASK_MODULES, in {Path.cwd()}; Ctrl-C ends.")
            reported = missing
        sleep(POLL_SECONDS * 4)
        invalidate_caches()


def _watch(children: list[Child], check: Callable[[], None], start: Callable[[str], None]) -> ExitCode:
    """Watch the processes. One that ended with 0, such as a drained worker, is started again, and all data stays; any
    other exit ends the rest.
    """
    while True:
        check()
        for child in tuple(children):
            status = child.exit_status()
            if status == 0:
                remark(f"{child.name} was stopped; starting it again. Ctrl-C here ends all.")
                children.remove(child)
                child.kill()
                start(child.name)
            elif status is not None:
                remark(f"{child.name} ended with {status}; its last lines above say why. Stopping the others.")
                return ExitCode.ERROR
        time.sleep(POLL_SECONDS * 4)
