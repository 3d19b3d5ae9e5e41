"""A process that was forked from one with an app: it makes its own pools of producers.

Celery renews them in the children of its workers alone. In a preloading server's child a producer that another thread
of the parent was using would never come back, and a lock that it held would never open.
"""

from __future__ import annotations

import os
from typing import Any, Final
from weakref import WeakSet

from celery import Celery
from kombu import pools

_apps: Final[WeakSet[Celery]] = WeakSet()
_inherited: Final[list[Any]] = []


def watch(app: Celery) -> None:
    """Renew an app's pools in every child that is forked from now on."""
    if not _apps:
        os.register_at_fork(after_in_child=_renew_all)
    _apps.add(app)


def _renew_all() -> None:
    for app in list(_apps):
        _renew(app)


def _renew(app: Any) -> None:
    """Forget the pools; they are kept, for what is dropped closes its connections."""
    amqp = vars(app).get("amqp")
    old = [app._pool, *([amqp._producer_pool] if amqp is not None else [])]
    for group in (pools.connections, pools.producers):
        for key in [key for key, pool in group.items() if any(pool is one for one in old)]:
            dict.__delitem__(group, key)  # the group's own would hash what is a hash already
    _inherited.extend(pool for pool in old if pool is not None)
    app._pool = None
    if amqp is not None:
        amqp._producer_pool = None
