"""`create_app`: the dashboard as one ASGI application that works under any mount point."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from jobclaim.dashboard import errors
from jobclaim.dashboard.pages import ROOT_KEY, environment
from jobclaim.dashboard.routes import ROUTES
from jobclaim.dashboard.security import Access, access_of, guarded
from jobclaim.dashboard.services import Services
from jobclaim.jobs import Job
from jobclaim.settings import Settings

STATIC: Final = Path(__file__).parent / "static"


def create_app(
    settings: Settings | None = None,
    *,
    services: Services | None = None,
    access: Access | None = None,
    redact: Callable[[Job], Job] | None = None,
) -> Starlette:
    """Create the dashboard as an ASGI application.

    Parameters
    ----------
    settings : Settings, optional
        Default: those of the environment.
    services : Services, optional
        Default: made from settings.
    access : Access, optional
        Authentication; default: as configured in settings, and without sign-in a viewer on this machine.
    redact : callable, optional
        Masks more of a job than settings do, before it is shown: ``redact(job)`` returns the job as it may be seen.

    Returns
    -------
    starlette.applications.Starlette
        Serve it, or mount it: all of its links follow ``root_path``.
    """
    known = services or Services.of(settings or Settings())
    if redact is not None:
        known = replace(known, redact=redact)
    app = Guarded(
        routes=[*ROUTES, Mount("/static", StaticFiles(directory=STATIC, check_dir=False), name="static")],
        exception_handlers=errors.HANDLERS,
        lifespan=_lifespan,
    )
    app.state.services = known
    app.state.access = access or access_of(known.settings, clock=known.clock)
    app.state.templates = environment()
    app.add_middleware(Rooted)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    app.state.services.close()


class Guarded(Starlette):
    """Starlette inside all guards, which also cover its own response to an unexpected error."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put the guards before everything else."""
        stack: ASGIApp = guarded(super().build_middleware_stack(), self.state.services.settings, self.state.access)
        return stack


class Rooted:
    """Records where the app is mounted, because its own inner mounts change ``root_path``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            scope.setdefault(ROOT_KEY, scope.get("root_path", "").rstrip("/"))
        await self._app(scope, receive, send)
