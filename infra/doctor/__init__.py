"""The doctor: compares what is deployed with the settings, and reports each difference with its remedy."""

from __future__ import annotations

from jobclaim.infra.doctor.checks import diagnose
from jobclaim.infra.doctor.gathering import gather
from jobclaim.infra.doctor.snapshot import Snapshot, TaskView
from jobclaim.specs.finding import Finding, Level

__all__ = ["Finding", "Level", "Snapshot", "TaskView", "diagnose", "gather"]
