"""`jobclaim dashboard`: serve the web pages, and hash the passwords of their users."""

from __future__ import annotations

import sys

import click

from jobclaim.cli.output import remark
from jobclaim.cli.session import Session

MISSING = "the dashboard needs the extra `dashboard`: pip install 'jobclaim[dashboard]'"


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  jobclaim dashboard
  jobclaim dashboard --operator --port 9000
  jobclaim dashboard --host 0.0.0.0          with JOBCLAIM_DASHBOARD_USERS or _ALB, and _HOSTS
  jobclaim dashboard hash-password
""",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8484,
    show_default=True,
    help="Port to listen on; 0 means a free one.",
)
@click.option(
    "--operator", is_flag=True, help="Let users of this machine act (retry, cancel, drain). Default: read only."
)
@click.pass_context
def command(ctx: click.Context, host: str, port: int, operator: bool) -> None:
    """Serve the dashboard: jobs, dead letters, queues, workers and schedules as web pages.

    Without sign-in it serves this machine only and is read-only: see docs/dashboard-security.md. Ctrl-C ends it.
    """
    if ctx.invoked_subcommand is None:
        _serve(ctx.ensure_object(Session), host, port, operator)


def _serve(session: Session, host: str, port: int, operator: bool) -> None:
    try:
        import uvicorn  # noqa: F401 - imported first, so that the error names the missing package

        from jobclaim.dashboard.security import RefusedToServe
        from jobclaim.dashboard.server import CannotListen, serve
    except ImportError as error:
        if error.name in ("uvicorn", "starlette", "jinja2", "jwt", "cryptography"):
            raise click.ClickException(MISSING) from error
        raise
    from jobclaim.cli.processes import signals_as_interrupt
    from jobclaim.fleet.person import whoami

    def announce(url: str) -> None:
        acting = "actions are allowed" if operator else "read only; --operator allows actions"
        who = "with sign-in" if session.settings.dashboard_users or session.settings.dashboard_alb else acting
        remark(f"The dashboard is at {url} ({who}). Ctrl-C ends it.")

    try:
        with signals_as_interrupt():
            serve(
                session.settings,
                host=host,
                port=port,
                operator=operator,
                user=whoami(),
                ready=announce,
                app=lambda: session.app_with_tasks,
            )
    except (RefusedToServe, CannotListen) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        remark("The dashboard has stopped.")


@command.command(
    "hash-password",
    epilog="""\b
Examples:
  jobclaim dashboard hash-password
""",
)
def hash_password() -> None:
    """Read a password, and print its hash for JOBCLAIM_DASHBOARD_USERS.

    On a terminal, prompts for it twice; otherwise reads the first line of standard input. At least 12 characters.
    """
    from jobclaim.dashboard.security.basic import hash_password as hashed

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < 12:
        raise click.ClickException(f"the password has {len(password)} characters; use at least 12")
    click.echo(hashed(password))
