"""Reads at half of the CPU time: a page makes up to sixty, and building and parsing them is most of what it takes.

As `jobs.storage.lean`, which does the same for the requests of each job: JSON both ways, botocore's own credentials,
signature and exceptions. Items of our tables hold no binary values, which are all that boto3 would give in another
form.
"""

from __future__ import annotations

from typing import Any

from jobclaim.jobs.storage.lean import LeanClient, lean


def reading(client: Any) -> Any:
    """Give a DynamoDB client whose reads cost less; the same client where that cannot be done."""
    return ReadingClient(client) if isinstance(lean(client), LeanClient) else client


class ReadingClient(LeanClient):
    """A boto3 DynamoDB client with its reads made by hand too. Thread-safe; not to be shared across a fork."""

    def query(self, **request: Any) -> Any:
        """As boto3's."""
        return self._ask("Query", request)

    def batch_get_item(self, **request: Any) -> Any:
        """As boto3's."""
        return self._ask("BatchGetItem", request)

    def scan(self, **request: Any) -> Any:
        """As boto3's."""
        return self._ask("Scan", request)
