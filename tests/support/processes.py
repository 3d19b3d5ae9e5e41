"""The processes of `jobclaim verify`, for tests."""

from __future__ import annotations

from jobclaim.verify.processes import ManagedProcess, ProcessDied

__all__ = ["ManagedProcess", "ProcessDied"]
