"""The host's Celery app, named by ``jobclaim --app proj`` or ``JOBCLAIM_APP`` as ``celery -A`` takes it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

import click

from jobclaim.specs.variables import APP

DEFAULT: Final = "jobclaim"
"""Value of ``celery -A`` if no app is named: the default app, made from settings alone."""


def app_option() -> click.Option:
    """Return the option ``--app``; its value also applies to the processes that a command starts."""
    return click.Option(
        ["-A", "--app", "name"],
        envvar=APP,
        metavar="MODULE[:NAME]",
        expose_value=False,
        is_eager=True,
        callback=_remember,
        help="The Celery app that jobclaim is installed on, as with `celery -A`.  [env: JOBCLAIM_APP]",
    )


def _remember(_: click.Context, __: click.Parameter, name: str | None) -> None:
    if name:
        os.environ[APP] = name


def app_name() -> str:
    """Return the app's name for ``celery -A``."""
    return os.environ.get(APP) or DEFAULT


def see_this_folder() -> None:
    """Make the working directory importable, as `celery` does; by default a console script cannot import from it."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)


def find_host_app() -> Any | None:
    """Import the named app; return ``None`` if no app is named.

    Raises
    ------
    click.BadParameter
        The app does not exist or cannot be imported.
    NotInstalled
        jobclaim is not installed in the app.
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
            f"{name!r} does not name a Celery app ({type(error).__name__}: {error}); write it as for `celery -A`, "
            "for example proj or proj.celery:app, and run in the project's folder",
            param_hint="--app",
        ) from error
    handle_of(app)
    return app
