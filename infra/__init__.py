"""AWS resources of the jobs: tables and queues from the settings, and an embedded AWS for development."""

from __future__ import annotations

from jobclaim.infra.local import LocalAws, local_aws
from jobclaim.infra.provisioning import provision
from jobclaim.infra.queues import resolve_queue_urls
from jobclaim.infra.report import ProvisionReport, ProvisionRow

__all__ = ["LocalAws", "ProvisionReport", "ProvisionRow", "local_aws", "provision", "resolve_queue_urls"]
