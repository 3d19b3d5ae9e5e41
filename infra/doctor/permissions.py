"""Whether this process may do what an actor must: tried with requests that AWS refuses for another reason.

A write is conditional on the impossible, a message has no body, a receipt is none. Who lacks the permission is told so;
who has it is told what else is wrong. An answer that fits neither counts as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, Final, Literal

from infra.doctor.snapshot import Permission
from infra.queues import resolve_queue_urls
from jobs import schema
from settings import Settings

Actor = Literal["submitter", "worker", "beat", "recovery", "dashboard"]
NOBODY: Final = "jobclaim doctor"
"""A key that no job and no worker has: ids hold no blank."""
DENIED: Final = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "NotAuthorized",
)
_JOBS: Final = {
    "submitter": ("PutItem", "UpdateItem", "GetItem", "BatchGetItem"),
    "worker": ("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem"),
    "beat": (),
    "recovery": ("Query", "GetItem", "BatchGetItem", "UpdateItem", "PutItem"),
    "dashboard": ("Query", "GetItem", "BatchGetItem"),
}
_FLEET: Final = {
    "submitter": (),
    "worker": ("GetItem", "UpdateItem", "DeleteItem"),
    "beat": (),
    "recovery": ("Scan", "GetItem", "PutItem", "UpdateItem", "DeleteItem"),
    "dashboard": ("Scan", "GetItem"),
}
_QUEUES: Final = {
    "submitter": ("SendMessage", "GetQueueAttributes"),
    "worker": ("SendMessage", "GetQueueAttributes"),
    "beat": ("SendMessage", "GetQueueAttributes"),
    "recovery": ("SendMessage", "GetQueueAttributes"),
    "dashboard": ("GetQueueAttributes",),
}
_CONSUME: Final = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")


def permissions(
    actor: Actor, settings: Settings, dynamodb: Any, sqs: Any, *, queues: Collection[str] = ()
) -> Iterator[Permission]:
    """Try every action that the actor needs; nothing is changed, sent or received.

    Parameters
    ----------
    queues : collection of str
        Logical queues that a worker listens on; default all but recovery's.
    """
    for table, key, actions in (
        (settings.job_table, schema.KEY, _JOBS[actor]),
        (settings.fleet_table, schema.FLEET_KEY, _FLEET[actor]),
    ):
        for action in actions:
            yield Permission(f"dynamodb:{action}", table, _try(partial(_ask_table, dynamodb, action, table, key)))
    own = queues or [name for name in settings.queue_names if name != settings.recovery_queue]
    for name, url in resolve_queue_urls(settings, sqs).items():
        for action in _actions(actor, settings, name, own):
            yield Permission(f"sqs:{action}", settings.physical_name(name), _try(partial(_ask_queue, sqs, action, url)))


def _actions(actor: Actor, settings: Settings, queue: str, own: Collection[str]) -> tuple[str, ...]:
    if actor == "beat" and queue != settings.recovery_queue:
        return ()
    return _QUEUES[actor] + (_CONSUME if actor == "worker" and queue in own else ())


def _try(request: Callable[[], Any]) -> bool | None:
    from botocore.exceptions import ClientError

    try:
        request()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code.endswith(DENIED):
            return False
        return True if error.response["ResponseMetadata"]["HTTPStatusCode"] == 400 else None
    return True


def _ask_table(client: Any, action: str, table: str, key: str) -> None:
    """Make a request that reads nothing or fails its condition."""
    nobody = {key: {"S": NOBODY}}
    impossible = {"ConditionExpression": f"attribute_exists({key})"}
    match action:
        case "PutItem":
            client.put_item(TableName=table, Item=nobody, **impossible)
        case "UpdateItem":
            client.update_item(TableName=table, Key=nobody, **impossible)
        case "DeleteItem":
            client.delete_item(TableName=table, Key=nobody, **impossible)
        case "GetItem":
            client.get_item(TableName=table, Key=nobody)
        case "BatchGetItem":
            client.batch_get_item(RequestItems={table: {"Keys": [nobody]}})
        case "Scan":
            client.scan(TableName=table, Limit=1)
        case "Query":
            client.query(
                TableName=table,
                IndexName=schema.INDEX,
                KeyConditionExpression=f"{schema.INDEX_HASH} = :nobody",
                ExpressionAttributeValues={":nobody": {"S": NOBODY}},
            )


def _ask_queue(client: Any, action: str, url: str) -> None:
    """Make a request that SQS refuses: an empty body, a count of none, a receipt that is none."""
    match action:
        case "SendMessage":
            client.send_message(QueueUrl=url, MessageBody="")
        case "ReceiveMessage":
            client.receive_message(QueueUrl=url, MaxNumberOfMessages=0)
        case "DeleteMessage":
            client.delete_message(QueueUrl=url, ReceiptHandle="none")
        case "ChangeMessageVisibility":
            client.change_message_visibility(QueueUrl=url, ReceiptHandle="none", VisibilityTimeout=0)
        case "GetQueueAttributes":
            client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
