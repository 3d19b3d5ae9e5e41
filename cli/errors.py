"""Error messages: turn an exception into a line on standard error with the problem, the value and the remedy."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.output import say
from jobclaim.specs.refusals import UnknownQueue

_DEBUG: Final = "jobclaim.debug"


def debug_option() -> click.Option:
    """Return the option ``--debug``, which every command and the group itself take."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        callback=_remember_debug,
        help="Show the traceback of errors.",
    )


def wants_traceback(ctx: click.Context) -> bool:
    """Return whether ``--debug`` was given, before or after the command's name."""
    return bool(ctx.meta.get(_DEBUG))


class Refused(click.ClickException):
    """An error for users: each line of its message has the problem, the value and the remedy."""

    exit_code = ExitCode.ERROR

    def show(self, file: Any = None) -> None:
        """Write the message to standard error."""
        for line in self.message.splitlines():
            say(line, err=True, prefix=f"{click.style('error:', fg='red', bold=True)} ")


class NotFound(Refused):
    """The requested object does not exist."""

    exit_code = ExitCode.NOT_FOUND


def explain(error: Exception) -> Refused:
    """Return the message for any exception."""
    text = _one_line(str(error))
    if _is_a(error, "jobclaim.jobs.errors", "JobNotFound"):
        return NotFound(text)
    if _is_a(error, "jobclaim.jobs.errors", "JobError"):
        return Refused(text)
    if _is_a(error, "pydantic_core", "ValidationError"):
        return Refused("\n".join(_setting(row) for row in error.errors()))  # type: ignore[attr-defined]
    if _is_a(error, "pydantic_settings", "SettingsError"):
        return Refused(f"settings: {text}: {_one_line(str(error.__cause__))}; lists and tables are given as JSON")
    if isinstance(error, ImportError):
        return Refused(
            f"cannot import: {text}; run where your task modules are importable, and check JOBCLAIM_TASK_MODULES and "
            "PYTHONPATH"
        )
    return _of_the_surroundings(error, text) or Refused(
        f"{type(error).__name__}: {text}; this is a bug: please report it with the output of --debug"
    )


def _of_the_surroundings(error: Exception, text: str) -> Refused | None:
    """Explain an error of AWS, of a file or of a name: it is not a bug, so no bug report is asked for."""
    from jobclaim.jobs.failures.aws_errors import aws_error_in, explain_aws

    if (of_aws := aws_error_in(error)) is not None:
        return Refused(explain_aws(of_aws))
    if _is_a(error, "kombu.exceptions", "OperationalError"):
        return Refused(f"SQS did not answer: {text}; `jobclaim doctor` checks the deployment")
    if isinstance(error, UnknownQueue):
        return Refused(text)
    if isinstance(error, OSError):
        return Refused(f"{text}; check that it exists and that you may use it" if error.filename else text)
    return None


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_DEBUG] = True


def _is_a(error: Exception, module: str, name: str) -> bool:
    """Check whether an error is of a class without importing it: only an imported module can have raised one."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(error, kind)


def _setting(row: dict[str, Any]) -> str:
    """Describe one refused setting. A validator's own message names field, value and remedy; pydantic's does not."""
    message = _one_line(row["msg"]).removeprefix("Value error, ")
    path = ".".join(str(part) for part in row["loc"])
    if row["type"] == "value_error":
        return f"settings: {message}"
    name = "JOBCLAIM_" + "__".join(str(part) for part in row["loc"]).upper()
    return (
        f"settings: {path}={row.get('input')!r}: {message}; correct it where it is set ({name}, .env or pyproject.toml)"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
