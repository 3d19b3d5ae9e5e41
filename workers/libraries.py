"""Which code is Celery's or jobclaim's own, and not the user's."""

from __future__ import annotations

from typing import Any, Final

LIBRARIES: Final = ("celery.", "jobclaim.")
"""Prefixes of module names, and of the names of their tasks."""


def is_of_library(thing: Any) -> bool:
    """Return whether a class or a function is not the user's."""
    return str(getattr(thing, "__module__", "")).startswith(LIBRARIES)
