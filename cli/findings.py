"""Output of checks' findings, and the resulting exit code."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.errors import Refused
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import Column, Output, Record, remark
from jobclaim.specs.plurals import counted

if TYPE_CHECKING:
    from jobclaim.specs.finding import Finding

STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


def _where(row: Record) -> str:
    """Return the first place of a finding and the number of others; ``-o json`` lists them all."""
    more = f" and {row['count'] - 1} more" if row["count"] > 1 else ""
    return f"{row['place'] or 'the running system'}{more}"


COLUMNS = [
    Column("", lambda row: str(row["level"]), lambda row: STYLES[row["level"]], fold=False),
    Column("check", lambda row: str(row["check"]), "bold", fold=False),
    Column("where", _where, "dim"),
    Column("what", lambda row: f"{row['subject']}: {row['problem']}"),
    Column("fix", lambda row: str(row["fix"])),
]


def show(
    findings: Sequence[Finding], out: Output, *, empty: str, extra: Callable[[Finding], Record] = lambda _: {}
) -> None:
    """Write findings as a table or as records, in the same form for every check."""
    out.many([{**one.record(), **extra(one)} for one in findings], COLUMNS, empty=empty)


def conclude(
    findings: Sequence[Finding], out: Output, *, checked: str, baseline: Path | None = None, write: bool = False
) -> ExitCode:
    """Write the findings that are not in the baseline; exit with `ExitCode.CHECK_FAILED` if there are any."""
    from jobclaim.governance.finding import grouped, read_baseline, write_baseline

    if write:
        if baseline is None:
            raise click.UsageError("--write-baseline needs --baseline FILE, the file to write")
        write_baseline(baseline, findings)
        remark(f"{counted(len(findings), 'finding')} written to {baseline}")
        return ExitCode.OK
    known = _known_ids(baseline, read_baseline)
    unknown = [one for one in findings if one.fingerprint not in known]
    new = grouped(unknown)
    accepted = f", {len(findings) - len(unknown)} known from {baseline}" if baseline else ""
    summary = f"{counted(len(new), 'finding')} in {checked}{accepted}."
    show(new, out, empty=summary)
    if new or out.format != "table":  # an empty table shows the summary itself
        remark(summary)
    return ExitCode.CHECK_FAILED if new else ExitCode.OK


def _known_ids(baseline: Path | None, read: Any) -> frozenset[str]:
    if baseline is None:
        return frozenset()
    if not baseline.exists():
        raise Refused(f"baseline {baseline} does not exist; create it with --write-baseline")
    try:
        return read(baseline)  # type: ignore[no-any-return]
    except ValueError as error:
        raise Refused(str(error)) from error


def find_app(path: str) -> Any:
    """Import a Celery app by ``module:name`` or ``module.name``, with its tasks.

    Raises
    ------
    Refused
        The app does not exist, or it or its tasks cannot be imported.
    """
    module_name, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name or path)
        app = getattr(module, name, None) if name else None
        if app is None or not hasattr(app, "conf"):
            raise Refused(f"--app {path!r} does not name a Celery app; write module:name, as with `celery -A`")
        app.loader.import_default_modules()
    except (Refused, KeyboardInterrupt):
        raise
    except Exception as error:
        raise Refused(
            f"--app {path!r} cannot be imported: {type(error).__name__}: {error}; correct it, or check with --static"
        ) from error
    app.finalize()
    return app
