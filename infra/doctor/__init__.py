"""The doctor: what is deployed against what the settings say, each difference with its remedy."""

from __future__ import annotations

from infra.doctor.checks import diagnose
from infra.doctor.finding import Finding, Level
from infra.doctor.gather import gather
from infra.doctor.snapshot import Snapshot, TaskView

__all__ = ["Finding", "Level", "Snapshot", "TaskView", "diagnose", "gather"]
