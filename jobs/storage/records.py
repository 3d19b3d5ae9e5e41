"""Base class for small records: a client, a table, a clock, and requests with retries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, Self, TypeVar

from botocore.exceptions import ClientError

from jobclaim.jobs.clock import Clock
from jobclaim.jobs.encoding.item import Item
from jobclaim.jobs.storage.resilience import persistently
from jobclaim.jobs.storage.table import JobTable
from jobclaim.settings import Settings

T = TypeVar("T")


class HasTable(Protocol):
    """The part of a `JobRepo` that records need: the table's client, the clock and the settings."""

    settings: Settings
    clock: Clock
    table: JobTable


class Records:
    """Requests on one table; all of them raise `StoreUnavailable`.

    Parameters
    ----------
    client : callable
        Returns a boto3 DynamoDB client of this process.
    table : str
        Name of the table.
    """

    def __init__(self, client: Callable[[], Any], table: str, *, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._sleep = sleep

    @classmethod
    def of(cls, repo: HasTable) -> Self:
        """Use the fleet table that the repo's settings name, with the repo's own client."""
        return cls(repo.table.client, repo.settings.fleet_table, clock=repo.clock, sleep=repo.table.sleep)

    def now(self) -> int:
        """Read the clock that applies to the records, in epoch milliseconds."""
        return self._clock()

    def _ask(self, request: Callable[[], T]) -> T:
        return persistently(request, clock=self._clock, sleep=self._sleep)

    def _write(self, operation: str, **request: Any) -> tuple[bool, Item]:
        """Make a conditional write; return whether it was applied, and the record in the answer."""
        try:
            answer = self._ask(lambda: getattr(self._client(), operation)(TableName=self._table, **request))
        except ClientError as error:  # `persistently` lets only a refused condition through
            refused: Any = error.response
            return False, refused.get("Item") or {}
        return True, answer.get("Attributes") or {}
