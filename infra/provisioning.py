"""Create or update tables and queues from the settings, and report what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobclaim.infra import clients
from jobclaim.infra.errors import explained
from jobclaim.infra.queues import ensure_queues
from jobclaim.infra.report import ProvisionReport
from jobclaim.infra.tables import ensure_table, table_specs
from jobclaim.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

WAIT_SECONDS: Final = 300.0
KEPT: Final = "What was created so far is kept: run `jobclaim up` again"


def provision(
    settings: Settings,
    *,
    dynamodb: DynamoDBClient | None = None,
    sqs: SQSClient | None = None,
    wait_seconds: float = WAIT_SECONDS,
) -> ProvisionReport:
    """Create or update the two tables and every queue with its dead-letter queue.

    Safe to run any number of times, also concurrently: a second run changes nothing. Never deletes anything, never
    replaces a table, and leaves unknown resources alone.

    Parameters
    ----------
    settings : Settings
        Names, limits and endpoints; every attribute is derived from it.
    dynamodb, sqs : boto3 clients, optional
        Default: made from `settings`.
    wait_seconds : float
        Longest wait for one table or index to become ACTIVE, seconds.

    Returns
    -------
    ProvisionReport
        One row per resource: created, changed (old -> new), unchanged or left.

    Raises
    ------
    ProvisionError
        An endpoint refused something that jobclaim requires, did not answer, or was not ready in time. What was
        created until then stays; run again.
    TableMismatch
        A table of that name exists with another key.
    """
    with explained(settings, "dynamodb", KEPT):
        dynamodb = dynamodb or clients.dynamodb_client(settings)
        tables = [list(ensure_table(dynamodb, spec, wait_seconds)) for spec in table_specs(settings)]
    with explained(settings, "sqs", KEPT):
        sqs = sqs or clients.sqs_client(settings)
        queues = list(ensure_queues(settings, sqs))
    return ProvisionReport.gather([*tables, queues])
