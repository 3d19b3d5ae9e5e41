"""``celery -A jobclaim jobs ...``: the same commands, on the app that Celery was given."""

from __future__ import annotations

import click

from jobclaim.cli.errors import debug_option
from jobclaim.cli.main import LazyGroup
from jobclaim.cli.session import Session


@click.group("jobs", cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def jobs(ctx: click.Context) -> None:
    """Submit, list, show, retry, cancel and recover jobs."""
    ctx.obj = Session(app=getattr(ctx.obj, "app", None))


jobs.params.append(debug_option())
