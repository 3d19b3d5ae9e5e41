"""Test an actor's permissions with requests that AWS refuses for another reason.

A write has an impossible condition, a message has no body, a receipt is invalid. Without the permission AWS answers
that access is denied; with it, AWS names the other fault. Any other answer counts as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, Final, Literal

from jobclaim.infra.doctor.snapshot import Permission
from jobclaim.jobs.encoding import schema
from jobclaim.settings import Settings

Actor = Literal["submitter", "worker", "beat", "recovery", "dashboard"]
NOBODY: Final = "jobclaim doctor"
"""A key that no job and no worker has: ids cannot contain a space."""
COUNT_OF_NOBODY: Final = f"#tally#{NOBODY}"
"""A key within the fleet's counts, to which a submitter's policy is restricted."""
DENIED: Final = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "NotAuthorized",
)
FORGOTTEN: Final = f"result\x1f{NOBODY}"
"""A result that no plain task has: a worker may delete nothing else of the job table."""
_JOBS: Final = {
    "submitter": ("PutItem", "UpdateItem", "GetItem", "BatchGetItem"),
    "worker": ("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem"),
    "beat": (),
    "recovery": ("Query", "GetItem", "BatchGetItem", "UpdateItem", "PutItem"),
    "dashboard": ("Query", "GetItem", "BatchGetItem"),
}
_FLEET: Final = {
    "submitter": ("UpdateItem",),
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
GET_QUEUE_URL: Final = "sqs:GetQueueUrl"
"""Not needed by actors: the stack passes the URLs to its containers."""
_CONSUME: Final = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility")


def permissions(
    actor: Actor, settings: Settings, dynamodb: Any, sqs: Any, *, queues: Collection[str] = ()
) -> Iterator[Permission]:
    """Test every action that the actor needs; nothing is changed, sent or received.

    Parameters
    ----------
    queues : collection of str
        Logical queues that a worker listens on; default all but recovery's.
    """
    counted = COUNT_OF_NOBODY if actor == "submitter" else NOBODY  # a submitter writes only counts in the fleet table
    for table, key, value, actions in (
        (settings.job_table, schema.KEY, NOBODY, _JOBS[actor]),
        (settings.fleet_table, schema.FLEET_KEY, counted, _FLEET[actor]),
    ):
        for action in actions:
            named = FORGOTTEN if action == "DeleteItem" and table == settings.job_table else value
            check = partial(_ask_table, dynamodb, action, table, key, named)
            yield Permission(f"dynamodb:{action}", table, _try(check))
    own = queues or [name for name in settings.queue_names if name != settings.recovery_queue]
    for name in settings.queue_names:
        yield from _of_queue(settings, sqs, name, _actions(actor, settings, name, own))


def _of_queue(settings: Settings, sqs: Any, name: str, actions: Collection[str]) -> Iterator[Permission]:
    """Test actions on a queue; none if its URL is unavailable, because it does not exist or GetQueueUrl is denied."""
    from botocore.exceptions import ClientError

    url, physical = settings.queue_urls.get(name), settings.physical_name(name)
    if not actions:
        return
    try:
        url = url or sqs.get_queue_url(QueueName=physical)["QueueUrl"]
    except ClientError as error:
        if is_denial(error):
            yield Permission(GET_QUEUE_URL, physical, False)
        return
    for action in actions:
        yield Permission(f"sqs:{action}", physical, _try(partial(_ask_queue, sqs, action, url)))


def _actions(actor: Actor, settings: Settings, queue: str, own: Collection[str]) -> tuple[str, ...]:
    if actor == "beat" and queue != settings.recovery_queue:
        return ()
    return _QUEUES[actor] + (_CONSUME if actor == "worker" and queue in own else ())


def is_denial(error: Any) -> bool:
    """Return whether AWS refused because of a missing permission."""
    return str(error.response.get("Error", {}).get("Code", "")).endswith(DENIED)


def _try(request: Callable[[], Any]) -> bool | None:
    from botocore.exceptions import ClientError

    try:
        request()
    except ClientError as error:
        if is_denial(error):
            return False
        return True if error.response["ResponseMetadata"]["HTTPStatusCode"] == 400 else None
    return True


def _ask_table(client: Any, action: str, table: str, key: str, value: str) -> None:
    """Send a request that reads nothing or fails its condition."""
    nobody = {key: {"S": value}}
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
    """Send a request that SQS refuses: an empty body, a count of zero, an invalid receipt."""
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
