"""Checks of schedules and tasks, on an imported app and on source code that is only parsed; for use in hooks and CI."""

from __future__ import annotations

from jobclaim.specs.finding import Finding

__all__ = ["Finding"]
