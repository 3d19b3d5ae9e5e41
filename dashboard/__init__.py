"""The dashboard: jobs, queues and workers as web pages and as JSON.

It reads the job table, the fleet table and the queues; it needs no events and no remote control of workers. Serve it
with `jobclaim dashboard`, or mount `create_app()` into any ASGI application::

    from jobclaim.dashboard import create_app
    routes = [Mount("/jobs-admin", create_app(settings))]
"""

from __future__ import annotations

from jobclaim.dashboard.app import create_app
from jobclaim.dashboard.person import Person, Role
from jobclaim.dashboard.services import Services

__all__ = ["Person", "Role", "Services", "create_app"]
