"""The doctor: what is deployed against what the settings say, each difference with its remedy."""

from __future__ import annotations

from jobclaim.infra.doctor.checks import diagnose
from jobclaim.infra.doctor.finding import Finding, Level
from jobclaim.infra.doctor.gather import gather
from jobclaim.infra.doctor.snapshot import Snapshot, TaskView

__all__ = ["Finding", "Level", "Snapshot", "TaskView", "diagnose", "gather"]
