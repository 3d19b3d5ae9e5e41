"""The host's Celery app, named by ``jobclaim --app proj`` or ``JOBCLAIM_APP`` as ``celery -A`` takes it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from jobclaim.specs.variables import APP

DEFAULT: Final = "jobclaim"
"""What ``celery -A`` is given where no app is named: the default app, made of settings alone."""


def app_option() -> click.Option:
    """Make the option; what it is given counts for the processes that a command starts, too."""
    return click.Option(
        ["-A", "--app", "name"],
        envvar=APP,
        metavar="MODULE[:NAME]",
        expose_value=False,
        is_eager=True,
        callback=_remember,
        help="The Celery app that jobclaim is installed on, as with `celery -A`.  [env: JOBCLAIM_APP]",
    )


def _remember(ctx: click.Context, _: click.Parameter, name: str | None) -> None:
    if name and not ctx.resilient_parsing:
        os.environ[APP] = name


def app_name() -> str:
    """Name the app for ``celery -A``."""
    return os.environ.get(APP) or DEFAULT


def see_this_folder() -> None:
    """Let the working folder's modules be imported, as `celery` does: a console script does not see them."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def find_host_app() -> Any | None:
    """Import the app that was named; ``None`` where none was.

    Raises
    ------
    click.BadParameter
        There is no such app, or it cannot be imported.
    NotInstalled
        It has no jobclaim.
    """
    name = os.environ.get(APP)
    if not name:
        return None
    from celery.app.utils import find_app

    from jobclaim.workers.handle import handle_of

    see_this_folder()
    try:
        app = find_app(name)
    except (ImportError, AttributeError) as error:
        raise click.BadParameter(
            f"{name!r} names no Celery app ({type(error).__name__}: {error}); give what `celery -A` takes, as in "
            "proj or proj.celery:app, from the project's folder",
            param_hint="--app",
        ) from error
    handle_of(app)
    return app
