"""Recovery: find orphans and lost messages, and retry, fail or redispatch their jobs."""

from __future__ import annotations

from jobclaim.recovery.cursor import Cursor
from jobclaim.recovery.decide import LostWorker
from jobclaim.recovery.fleet import FleetView, RecoveryFleet
from jobclaim.recovery.loop import run_every
from jobclaim.recovery.report import SweepReport
from jobclaim.recovery.sweeping import sweep

__all__ = ["Cursor", "FleetView", "LostWorker", "RecoveryFleet", "SweepReport", "run_every", "sweep"]
