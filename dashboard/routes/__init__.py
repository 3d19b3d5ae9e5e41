"""Routes of the pages; each module lists its own in ``ROUTES``."""

from __future__ import annotations

from typing import Final

from starlette.routing import BaseRoute

from jobclaim.dashboard.routes import (
    actions,
    api,
    audit,
    dead,
    job,
    jobs,
    ops,
    overview,
    queues,
    reconcile,
    schedules,
    submit,
    tasks,
    workers,
)

MODULES: Final = (
    *(overview, jobs, job, dead, tasks, queues, workers, schedules, reconcile, audit),
    *(submit, actions, api, ops),
)
ROUTES: Final[list[BaseRoute]] = [route for module in MODULES for route in module.ROUTES]
