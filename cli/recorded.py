"""Record every command that changes something in the audit trail, through `jobclaim.fleet.acting`.

A command that is not listed in `READS` or `UNRECORDED` is recorded, so a new command is recorded without further code.
What it acted on is taken from its arguments and options; values that may hold a job's arguments or a secret are left
out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.session import Session

READS: Final = frozenset(
    {
        "audit",
        "completion",
        "dashboard hash-password",
        "dead audit",
        "dead groups",
        "dead list",
        "dead queue inspect",
        "dead queue list",
        "dead show",
        "dead stats",
        "doctor",
        "key show",
        "list",
        "pause list",
        "queues",
        "schedule list",
        "schedule next",
        "schedule validate",
        "show",
        "tasks",
        "template",
        "trail",
        "workers",
        "worker all status",
        "worker health",
        "worker monitor",
    }
)
"""Commands that change nothing."""
UNRECORDED: Final = {
    "bench": "its jobs are its own and are deleted again",
    "dashboard": "it serves; what is done there is recorded there",
    "demo": "its tables are its own",
    "dev": "its tables are its own",
    "recover": "recovery is a program; its decisions are kept with each job",
    "up": "the table of the trail may not exist yet; CloudTrail has what was created",
    "verify": "its jobs and tables are its own",
    "worker all restart": "processes of this machine",
    "worker all start": "processes of this machine",
    "worker all stop": "processes of this machine",
    "worker restart": "a process of this machine",
    "worker run": "a process of this machine",
    "worker start": "a process of this machine",
    "worker stop": "a process of this machine",
    "worker watch-interruption": "a process of this machine",
}
"""Commands that change something and are not in the trail, each with the reason."""
_OWN: Final = frozenset({"output", "by", "reason", "yes", "dry_run", "watch", "debug", "wait"})
_MARK: Final = "jobclaim_recorded"


def record_acts(command: click.Command, path: str) -> None:
    """Record a command and all of its subcommands, except those that only read."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            record_acts(below, f"{path} {name}")
        return
    if path in READS or path in UNRECORDED or command.callback is None or getattr(command.callback, _MARK, False):
        return
    command.callback = _framed(command.callback, path)
    setattr(command.callback, _MARK, True)


def _framed(callback: Callable[..., Any], path: str) -> Callable[..., Any]:
    @wraps(callback)
    def run(*args: Any, **kwargs: Any) -> Any:
        from jobclaim.fleet.acting import framed, recorded_elsewhere
        from jobclaim.fleet.person import whoami

        context = click.get_current_context()
        parameters, session = context.params, context.ensure_object(Session)
        by, why = str(parameters.get("by") or "") or whoami(), str(parameters.get("reason") or "")
        ended: click.exceptions.Exit | None = None
        with framed(lambda: session.repo, path, by=by, face="cli", what=what_of(parameters), why=why) as frame:
            if parameters.get("dry_run"):
                recorded_elsewhere()
            try:
                result = callback(*args, **kwargs)
            except click.exceptions.Exit as exit_:
                ended = exit_
            if ended is not None and ended.exit_code not in (ExitCode.OK, ExitCode.PARTIAL):
                frame.act.count(refused=0 if frame.act.refused else 1)
        if ended is not None:
            raise ended
        return result

    return run


def what_of(parameters: dict[str, Any]) -> str:
    """Say what a command was given, in one line: ids and names first, then options by name."""
    from jobclaim.fleet.acting import named

    words: list[str] = []
    options: list[str] = []
    for name, value in parameters.items():
        if name in _OWN or value in (None, "", (), False):
            continue
        if name.endswith("ids"):
            words += map(str, value)
        elif name in ("job_id", "name", "task", "key"):
            words.append(str(value))
        else:
            options.append(named(name, ",".join(map(str, value)) if isinstance(value, (tuple, list)) else value))
    return " ".join([*words, *options])
