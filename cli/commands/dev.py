"""`jobclaim dev`: everything that development needs, in one process group per part, until Ctrl-C."""

from __future__ import annotations

import click

from cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  JOBCLAIM_TASK_MODULES='["examples"]' jobclaim dev
  jobclaim dev --concurrency 4 --port 5000
  jobclaim dev -q documents -q default
"""
)
@click.option(
    "-c", "--concurrency", type=click.IntRange(1), default=2, show_default=True, help="Processes of the worker."
)
@click.option("-q", "--queue", "queues", multiple=True, help="Queue of the worker; repeat it. Default: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the local AWS. Default: a free one.")
@pass_session
def command(session: Session, concurrency: int, queues: tuple[str, ...], port: int) -> None:
    """Run a local AWS with your tables and queues, a worker, a worker for recovery, and beat. Ctrl-C ends all of them.

    Prints the environment that points other terminals here. Nothing is kept: the next run starts empty.
    """
    from cli.development import run

    for queue in queues:
        session.settings.queue(queue)
    click.get_current_context().exit(run(session.settings, queues=queues, concurrency=concurrency, port=port))
