"""Jobs' writes and a caller's own in one TransactWriteItems: all of them are made, or none.

::

    [ jobs' own writes, each under its move's condition | the caller's writes ]   ClientRequestToken

    answered               all are made; the same request repeated within ten minutes changes nothing
    a job's own refused    made before, if the stored job shows it; else the claim has ended, or the id is taken
    a caller's refused     `EffectRefused`, unless an earlier try, whose answer was lost, had been applied
    a conflict, a throttle nothing is made: retried, like any transient error
    not a transaction      `InvalidEffect`: two operations on one item, an expression DynamoDB cannot read
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from botocore.exceptions import ClientError

from jobclaim.jobs.effects.values import canonical, to_plain
from jobclaim.jobs.effects.write import Write
from jobclaim.jobs.encoding.changes import Change
from jobclaim.jobs.encoding.item import from_item, key_of
from jobclaim.jobs.errors import EffectRefused, InvalidEffect
from jobclaim.jobs.failures.aws_codes import ACCESS, spelled
from jobclaim.jobs.model import FailureKind, Job
from jobclaim.jobs.storage.expressions import update_request
from jobclaim.jobs.storage.written import Written, judged
from jobclaim.jobs.transitions import Move, as_read

T = TypeVar("T")

CONDITION: Final = "ConditionalCheckFailed"
PASSING: Final[Mapping[str, str]] = {
    "TransactionConflict": "TransactionConflictException",
    "ThrottlingError": "ThrottlingException",
    "ProvisionedThroughputExceeded": "ProvisionedThroughputExceededException",
    "RequestLimitExceeded": "RequestLimitExceeded",
    "InternalServerError": "ThrottlingException",
}
"""Reasons for which the same transaction may succeed later, as the equivalent errors of single requests."""
NEVER: Final = "None"
"""Reason code of an operation that was not itself refused."""
TABLE_IN_ARN: Final = re.compile(r":table/([A-Za-z0-9_.-]+)")


class JobsTable(Protocol):
    """The part of a `jobclaim.jobs.storage.table.JobTable` that transactions use."""

    name: str
    client: Callable[[], Any]

    def get(self, job_id: str) -> Job | None:
        """Read one job consistently."""

    def put_request(self, job: Job) -> dict[str, Any]:
        """Return the request that puts a job unless its id is taken."""

    def changes(self, before: Job, after: Job) -> dict[str, Change]:
        """Return what an update must set and remove."""

    def persist(self, request: Callable[[], T], until: int | None = None) -> T:
        """Retry a request while its error is transient."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One job's own write: as with `jobclaim.jobs.storage.table.JobTable.apply`."""

    before: Job | None
    move: Move
    after: Job

    def as_item(self, table: JobsTable) -> dict[str, Any]:
        """Return the write in the form of TransactWriteItems."""
        if self.before is None:
            return {"Put": {"TableName": table.name, **table.put_request(self.after)}}
        known = as_read(self.before)
        request = update_request(self.move, known, table.changes(self.before, self.after))
        request.pop("ReturnValues")
        return {"Update": {"TableName": table.name, "Key": key_of(self.before.job_id), **request}}


@dataclass(frozen=True, slots=True)
class TransactionRefusal:
    """Why DynamoDB refused: one reason per operation, or one code for the whole transaction."""

    reasons: tuple[Mapping[str, Any], ...] = ()
    code: str = ""
    message: str = ""


def write_together(
    table: JobsTable, planned: Sequence[Planned], writes: Sequence[Write], *, until: int | None = None
) -> list[Written]:
    """Make all writes in one transaction; return the results of the jobs' own, in their order.

    If one of these is refused, none is applied. ``until`` as in `jobclaim.jobs.storage.resilience.persistently`.

    Raises
    ------
    EffectRefused, InvalidEffect, StoreUnavailable
    """
    items = [one.as_item(table) for one in planned] + [write.as_item() for write in writes]
    refusal, tries = _ask(table, items, len(planned), until)
    if refusal is None:
        return [judged(Written(True, None, tries), one.move, one.after) for one in planned]
    if refusal.code:
        raise _rejected(refusal, writes, table.name)
    own = _own(table, planned, refusal, tries)
    if own is not None:
        return own
    for index, reason in enumerate(refusal.reasons[len(planned) :]):
        if reason.get("Code", NEVER) not in (NEVER, *PASSING):
            raise _refused(writes[index], index, reason)
    raise InvalidEffect(
        f"DynamoDB refused the transaction without naming an operation: {refusal.reasons}; the reasons say what to "
        "correct"
    )


def _ask(
    table: JobsTable, items: list[dict[str, Any]], own: int, until: int | None
) -> tuple[TransactionRefusal | None, int]:
    """Make the request, again as long as it may succeed; return why it was refused, and how often it was made."""
    request = {"TransactItems": items, "ClientRequestToken": _request_token(items) if own else uuid.uuid4().hex}
    call, tries = table.client().transact_write_items, 0

    def write() -> TransactionRefusal | None:
        nonlocal tries
        tries += 1
        try:
            call(**request)
        except ClientError as error:
            tries += error.response.get("ResponseMetadata", {}).get("RetryAttempts", 0)
            return _understood(error, own, table.name)
        return None

    return table.persist(write, until), tries


def _request_token(items: list[dict[str, Any]]) -> str:
    """Return the digest of a transaction that writes a job, so that each process that repeats it sends the same token.

    A transaction of the caller's writes alone has a token per call: `ADD balance :one` made twice means two.
    """
    text = json.dumps(canonical(items), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:36]


def _understood(error: ClientError, own: int, own_table: str) -> TransactionRefusal:
    """Return the reasons of a refusal; a transient error is raised as that of a single request.

    A conflict on a job's own item is transient, whatever else is refused: an earlier try of this write may cause it.

    Raises
    ------
    botocore.exceptions.ClientError
    """
    answer: Any = error.response
    code, message = spelled(answer["Error"].get("Code", "")), str(answer["Error"].get("Message", ""))
    if code == "TransactionCanceled":
        reasons = tuple(answer.get("CancellationReasons") or ())
        codes = [reason.get("Code") or NEVER for reason in reasons]
        passing_codes = [code for code in codes if code in PASSING]
        if set(codes) <= {NEVER, *PASSING} or any(code in PASSING for code in codes[:own]):
            passing = PASSING[passing_codes[0]] if passing_codes else "TransactionConflictException"
            answer = {**answer, "Error": {"Code": passing, "Message": message}}
            raise ClientError(answer, error.operation_name)
        return TransactionRefusal(reasons)
    if code == "Validation" or (code in ACCESS and _table_named(message) not in ("", own_table)):
        return TransactionRefusal(code=code, message=message)
    if code == "ResourceNotFound":
        return TransactionRefusal(code=code, message=message)
    raise error


def _table_named(message: str) -> str:
    """Return the table whose ARN an error names; empty if there is none."""
    found = TABLE_IN_ARN.search(message)
    return found[1].rstrip(".") if found else ""


def _own(table: JobsTable, planned: Sequence[Planned], refusal: TransactionRefusal, tries: int) -> list[Written] | None:
    """Return the results of the jobs' own writes; ``None`` if a caller's write was refused.

    If one stored job shows that its write was made before, so were all: they are made together. So the first job is
    read if an earlier try may have been applied and no job's own write is among the refused.
    """
    reasons = dict(enumerate(refusal.reasons[: len(planned)]))
    refused = [index for index, reason in reasons.items() if reason.get("Code") == CONDITION]
    found: dict[int, Written] = {}
    for index in refused or ([0] if tries > 1 and planned else []):
        one, item = planned[index], reasons.get(index, {}).get("Item")
        stored = from_item(item) if item else table.get(one.after.job_id)
        found[index] = judged(Written(False, stored, tries), one.move, one.after)
        if found[index].applied:
            return [judged(Written(True, None, tries), other.move, other.after) for other in planned]
    if not refused:
        return None
    return [found.get(index, Written(False, planned[index].before, tries)) for index in range(len(planned))]


def _refused(write: Write, index: int, reason: Mapping[str, Any]) -> EffectRefused:
    shape: Callable[[Any], Any] = to_plain if write.is_plain else dict
    key, item, code = shape(write.shown_key()), reason.get("Item"), str(reason.get("Code", ""))
    if code == CONDITION:
        why = "its condition did not hold"
        remedy = "Check the item; if the condition may hold later, let the task retry on EffectRefused"
    else:
        why = f"DynamoDB says {code}: {reason.get('Message') or 'nothing more'}"
        remedy = "Correct the write"
    return EffectRefused(
        f"{write.what}, number {index}, on {key or 'an item'} of table {write.table!r}, was refused: {why}. Nothing "
        f"was written, and the job is unchanged. {remedy}",
        table=write.table,
        key=key,
        operation=write.operation,
        index=index,
        reason=code,
        item=shape(item) if item else None,
    )


def _rejected(refusal: TransactionRefusal, writes: Sequence[Write], own_table: str) -> EffectRefused | InvalidEffect:
    """Build the error of a transaction that DynamoDB rejected before it checked any item."""
    tables = sorted({write.table for write in writes})
    if refusal.code == "Validation":
        return InvalidEffect(
            f"DynamoDB refused the effects on {', '.join(tables)}: {refusal.message}. Nothing was written. Check the "
            "keys against the table's schema, and each expression's names and values; a transaction takes one "
            "operation for each item, and 4 MB in all"
        )
    named = _table_named(refusal.message)
    table = next((one for one in tables if one.rpartition("/")[2] == named), "")
    missing = refusal.code == "ResourceNotFound"
    remedy = (
        f"Create the table in this account and region (one of {', '.join(tables)}; jobclaim's own is {own_table!r})"
        if missing
        else "Give this role PutItem, UpdateItem, DeleteItem and ConditionCheckItem on the table, as its policy in "
        "template.yaml does with the parameter EffectTables"
    )
    return EffectRefused(
        f"DynamoDB refused the effects on {table or ', '.join(tables)} with {refusal.code}: {refusal.message}. "
        f"Nothing was written, and the job is unchanged. {remedy}",
        table=table or (tables[0] if len(tables) == 1 else ""),
        reason=refusal.code,
        failure_kind=FailureKind.CONFIGURATION,
    )
