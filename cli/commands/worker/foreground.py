"""Run `celery worker` in this process, without the rest of Celery's command line.

Celery's program imports all of its commands, and with them a library for interactive shells: 7 MB that each child of
the worker would hold. A second interpreter would take a third of the time until the first job.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from jobclaim.cli.host_app import see_this_folder

if TYPE_CHECKING:
    from collections.abc import Sequence


def run(app: Any, argv: Sequence[str]) -> None:
    """Run a worker until it has stopped, and exit with its code.

    Parameters
    ----------
    app : celery.Celery
    argv : sequence of str
        The same worker as a command line, ``python -m celery -A APP worker ...``: Celery logs it, and runs it when the
        worker restarts itself or detaches from the terminal.
    """
    import celery.__main__
    from celery.bin.base import CLIContext
    from celery.bin.worker import worker

    arguments = argv[argv.index("celery") + 1 :]
    _, _, _, *options = arguments  # -A APP worker
    sys.argv = [celery.__main__.__file__, *arguments]
    see_this_folder()
    worker.params.extend(app.user_options["worker"] | app.user_options["preload"])
    worker.main(
        options,
        "celery worker",
        parent=click.get_current_context(),
        auto_envvar_prefix="CELERY_WORKER",
        obj=CLIContext(app=app, no_color=False, workdir=None),
    )
