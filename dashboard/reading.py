"""Faster reads, at half of the CPU time: a page makes up to sixty, and most of its time is building and parsing them.

As `jobs.storage.lean`, which does the same for the requests of each job: JSON both ways, botocore's own credentials,
signature and exceptions. Items of our tables hold no binary values, the only ones that boto3 would return in another
form.
"""

from __future__ import annotations

from typing import Any

from jobclaim.jobs.storage.lean import LeanClient, lean


def reading(client: Any) -> Any:
    """Return a DynamoDB client with faster reads, or the same client if that is not possible."""
    return ReadingClient(client) if isinstance(lean(client), LeanClient) else client


class ReadingClient(LeanClient):
    """A boto3 DynamoDB client whose reads bypass boto3's serializers. Thread-safe; not to be shared across a fork."""

    def query(self, **request: Any) -> Any:
        """As boto3's."""
        return self._ask("Query", request)

    def batch_get_item(self, **request: Any) -> Any:
        """As boto3's."""
        return self._ask("BatchGetItem", request)

    def scan(self, **request: Any) -> Any:
        """As boto3's."""
        return self._ask("Scan", request)
