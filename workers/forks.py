"""Renew the producer pools in a process that was forked from one with an app.

Celery renews them only in the children of its workers. In a preloading server's child, a producer that another thread
of the parent was using would never be returned, and a lock that it held would never be released.
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
    """Renew an app's pools in every child that is forked after this call."""
    if not _apps:
        os.register_at_fork(after_in_child=_renew_all)
    _apps.add(app)


def _renew_all() -> None:
    for app in list(_apps):
        _renew(app)


def _renew(app: Any) -> None:
    """Replace the pools; the old ones are kept alive, because collecting them closes their connections."""
    amqp = vars(app).get("amqp")
    old = [app._pool, *([amqp._producer_pool] if amqp is not None else [])]
    for group in (pools.connections, pools.producers):
        for key in [key for key, pool in group.items() if any(pool is one for one in old)]:
            dict.__delitem__(group, key)  # the group's own method would hash the key, which is a hash already
    _inherited.extend(pool for pool in old if pool is not None)
    app._pool = None
    if amqp is not None:
        amqp._producer_pool = None
