"""`jobclaim dev`: a local deployment for development, one process group per part, until Ctrl-C."""

from __future__ import annotations

import click

from jobclaim.cli.session import Session, pass_session


@click.command(
    epilog="""\b
Examples:
  JOBCLAIM_TASK_MODULES='["tasks"]' jobclaim dev     the tasks of tasks.py
  jobclaim --app proj dev                           those of your Celery app
  jobclaim dev --concurrency 4 --port 5000
  jobclaim dev -q documents -q default
"""
)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Number of worker processes.",
)
@click.option("-q", "--queue", "queues", multiple=True, help="Queue of the worker; may be repeated. Default: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port of the local AWS. Default: a free one.")
@click.option("--dashboard-port", type=click.IntRange(0, 65535), help="Default: 8484, or a free one if that is taken.")
@click.option("--no-dashboard", is_flag=True, help="Do not run the dashboard.")
@pass_session
def command(
    session: Session,
    concurrency: int,
    queues: tuple[str, ...],
    port: int,
    dashboard_port: int | None,
    no_dashboard: bool,
) -> None:
    """Run a local AWS with your tables and queues, a worker, a worker for recovery, beat, and the dashboard.

    Ctrl-C ends all of them. A worker that is drained or stopped is started again.

    Prints the environment that points other terminals here. Waits for task modules that do not exist yet.
    Nothing is persisted: the next run starts empty.
    """
    from jobclaim.cli.commands.dev.running import run

    for queue in queues:
        session.settings.queue(queue)
    status = run(
        session.settings,
        queues=queues,
        concurrency=concurrency,
        port=port,
        dashboard_port=dashboard_port,
        with_dashboard=not no_dashboard,
    )
    click.get_current_context().exit(status)
