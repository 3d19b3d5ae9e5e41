"""A task module whose import breaks the worker's event loop once, as an error of its connection would."""

from __future__ import annotations

from typing import Any

from celery.signals import worker_ready


@worker_ready.connect
def _break(sender: Any, **_: Any) -> None:
    def fail() -> None:
        raise ConnectionResetError("the test cut the connection")

    sender.hub.call_later(1.5, lambda: sender.hub.call_soon(fail))
