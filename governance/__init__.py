"""Checks of schedules and tasks, on a running app and on source code that is only read; for people, hooks and CI."""

from __future__ import annotations

from jobclaim.specs.finding import Finding

__all__ = ["Finding"]
