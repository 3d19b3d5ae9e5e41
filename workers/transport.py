"""kombu's SQS transport on clients made from `Settings`, one per process instead of one per queue."""

from __future__ import annotations

from typing import Any

from kombu.transport import SQS

from jobs.connect import client


class Channel(SQS.Channel):
    """Channel whose SQS client comes from settings: endpoint, timeouts and credentials as everywhere else."""

    def new_sqs_client(self, *_: Any, **__: Any) -> Any:
        """Give the connection's one client; kombu would make one for each queue."""
        known = self._predefined_queue_clients
        for made in known.values():
            return made
        return client(self.transport_options["jobclaim_settings"], "sqs")


class Transport(SQS.Transport):
    """SQS transport of jobclaim's apps."""

    Channel = Channel
