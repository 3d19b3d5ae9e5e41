"""Recovery: finds jobs that nobody works on any more, and messages that nobody will ever get, and puts them right."""

from __future__ import annotations

from recovery.cursor import Cursor
from recovery.decide import DeadWorker
from recovery.fleet import FleetTable, FleetView
from recovery.loop import run_every
from recovery.sweep import SweepReport, sweep

__all__ = ["Cursor", "DeadWorker", "FleetTable", "FleetView", "SweepReport", "run_every", "sweep"]
