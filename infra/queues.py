"""Queues and their dead-letter queues: derive their attributes from the settings, and apply them.

kombu never sends a visibility timeout with a request and does not change an existing queue's, so only the queue's own
attribute takes effect; it is set here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jobclaim.infra import clients
from jobclaim.infra.attributes import Change, differences, redrive_policy, tls_only_policy
from jobclaim.infra.errors import ProvisionError, QueueNotFound, endpoint_name, explained
from jobclaim.infra.report import Kind, ProvisionRow
from jobclaim.settings import QueueSpec, Settings
from jobclaim.specs.quotas import SQS_MAX_RETENTION

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

DEAD_LETTER_RETENTION: Final = SQS_MAX_RETENTION
"""Seconds. A message's age counts from the send, not from the move here."""
ESSENTIAL: Final = frozenset({"VisibilityTimeout", "RedrivePolicy"})
"""Attributes that a queue must have for the settings to hold; an endpoint that refuses others is still usable."""
_MISSING: Final = ("NonExistentQueue", "QueueDoesNotExist")
_EXISTS: Final = ("QueueAlreadyExists", "QueueNameExists")


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """The wanted state of one SQS queue.

    Attributes
    ----------
    name : str
        Physical name.
    kind : str
    attributes : dict
        Attributes under SQS's names.
    local : bool
        The endpoint is plain HTTP on loopback.
    """

    name: str
    kind: Kind
    attributes: dict[str, str]
    local: bool


def ensure_queues(settings: Settings, client: SQSClient) -> Iterator[ProvisionRow]:
    """Create or update every queue of the settings, each after its dead-letter queue.

    A queue whose URL is given in ``queue_urls`` has another owner (a CloudFormation stack, another team) and is not
    changed.
    """
    for queue in settings.queues:
        if queue.name in settings.queue_urls:
            detail = f"its URL is given in queue_urls: {settings.queue_urls[queue.name]}"
            yield ProvisionRow(settings.physical_name(queue.name), "queue", "left", detail)
            continue
        dead_letters = _plan_dead_letters(settings, queue)
        yield from _ensure_queue(client, dead_letters)
        yield from _ensure_queue(client, _plan_queue(settings, queue, _arn(client, dead_letters.name)))


def resolve_queue_urls(settings: Settings, sqs: SQSClient | None = None) -> dict[str, str]:
    """Return the URL of every queue: the one given in ``queue_urls``, else the one that GetQueueUrl returns.

    Returns
    -------
    dict
        Logical queue name to URL.

    Raises
    ------
    QueueNotFound
        A queue does not exist; `jobclaim up` creates it.
    ProvisionError
        SQS refused the request or did not answer.
    """
    urls: dict[str, str] = {}
    with explained(settings, "sqs"):
        for name in settings.queue_names:
            url = settings.queue_urls.get(name)
            if url is None:
                sqs = sqs or clients.sqs_client(settings)
                url = _find(sqs, settings.physical_name(name))
            if url is None:
                raise QueueNotFound(name, settings.physical_name(name), endpoint_name(settings, "sqs"))
            urls[name] = url
    return urls


# --- the wanted queues
def _plan_queue(settings: Settings, queue: QueueSpec, dead_letter_arn: str) -> QueuePlan:
    attributes = _common(settings) | {
        "VisibilityTimeout": str(settings.visibility_timeout(queue.name)),
        "RedrivePolicy": redrive_policy(dead_letter_arn, queue.max_receive_count),
    }
    return QueuePlan(settings.physical_name(queue.name), "queue", attributes, _is_local(settings))


def _plan_dead_letters(settings: Settings, queue: QueueSpec) -> QueuePlan:
    name = settings.dead_letter_name(queue.name)
    attributes = _common(settings) | {"MessageRetentionPeriod": str(DEAD_LETTER_RETENTION)}
    return QueuePlan(name, "dead-letter queue", attributes, _is_local(settings))


def _common(settings: Settings) -> dict[str, str]:
    return {
        "ReceiveMessageWaitTimeSeconds": str(settings.wait_time_seconds),
        "SqsManagedSseEnabled": "true",
    }


def _is_local(settings: Settings) -> bool:
    """Return whether SQS is plain HTTP on loopback: an emulator that enforced a TLS-only policy would lock us out."""
    endpoint = settings.endpoint("sqs")
    return clients.is_loopback(endpoint) and urlsplit(endpoint or "").scheme == "http"


# --- creating and changing them
def _ensure_queue(client: SQSClient, plan: QueuePlan) -> Iterator[ProvisionRow]:
    url = _find(client, plan.name)
    created = False
    if url is None:
        url, created = _create(client, plan)
    have = _attributes(client, url)
    changes = differences(have, _desired(plan, have))
    refused = _apply(client, url, plan, changes)
    kept = [change for change in changes if change.name not in refused]
    if created:
        yield ProvisionRow(plan.name, plan.kind, "created", _summary(plan, refused))
    elif kept:
        yield ProvisionRow(plan.name, plan.kind, "changed", "; ".join(str(change) for change in kept))
    else:
        yield ProvisionRow(plan.name, plan.kind, "unchanged", _summary(plan, refused))
    for name, reason in refused.items():
        yield ProvisionRow(plan.name, plan.kind, "left", f"{name}: {reason}")


def _desired(plan: QueuePlan, have: dict[str, str]) -> dict[str, str]:
    """Add attributes that depend on the existing queue: its ARN, its policy, its encryption."""
    attributes = dict(plan.attributes)
    if have.get("KmsMasterKeyId"):  # encrypted with the owner's own key, which excludes SQS's
        del attributes["SqsManagedSseEnabled"]
    if not plan.local:
        attributes["Policy"] = tls_only_policy(have["QueueArn"], have.get("Policy"))
    return attributes


def _find(client: SQSClient, name: str) -> str | None:
    try:
        return client.get_queue_url(QueueName=name)["QueueUrl"]
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"].endswith(_MISSING):
            return None
        raise


def _create(client: SQSClient, plan: QueuePlan) -> tuple[str, bool]:
    """Create the queue; return (url, False) if another process created it first.

    All attributes are sent at once, so that SQS's default visibility timeout of 30 s never applies to a message. If an
    emulator refuses one of them, the queue is created without attributes, and each is then set by itself.
    """
    try:
        return client.create_queue(QueueName=plan.name, Attributes=plan.attributes)["QueueUrl"], True  # type: ignore[arg-type]
    except client.exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code.endswith(_EXISTS):
            return client.get_queue_url(QueueName=plan.name)["QueueUrl"], False
        if not _is_refused_value(code):
            raise
    return client.create_queue(QueueName=plan.name)["QueueUrl"], True


def _attributes(client: SQSClient, url: str) -> dict[str, str]:
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    return {str(name): value for name, value in answer.get("Attributes", {}).items()}


def _arn(client: SQSClient, name: str) -> str:
    url = client.get_queue_url(QueueName=name)["QueueUrl"]
    return client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def _apply(client: SQSClient, url: str, plan: QueuePlan, changes: list[Change]) -> dict[str, str]:
    """Set the attributes that differ; return those that could not be changed, with the reason.

    Raises
    ------
    ProvisionError
        An essential attribute was refused.
    """
    refused = _set(client, url, changes)
    if plan.local and changes:  # an emulator is consistent at once, but may drop unknown attributes silently
        left = {change.name for change in differences(_attributes(client, url), {c.name: c.new for c in changes})}
        refused |= {name: "this endpoint does not store it" for name in left if name not in refused}
    essential = sorted(ESSENTIAL & refused.keys())
    if essential:
        reasons = "; ".join(f"{name}: {refused[name]}" for name in essential)
        raise ProvisionError(
            f"queue {plan.name!r} does not accept {reasons}, which jobclaim needs; use another SQS endpoint"
        )
    return refused


def _set(client: SQSClient, url: str, changes: list[Change]) -> dict[str, str]:
    """Set all attributes at once, or one by one if that was refused; return the refused ones with the reasons."""
    if not changes:
        return {}
    try:
        _set_attributes(client, url, changes)
    except client.exceptions.ClientError as error:
        if not _is_refused_value(error.response["Error"]["Code"]):
            raise
        if len(changes) == 1:
            return {changes[0].name: str(error.response["Error"].get("Message") or error.response["Error"].get("Code"))}
    else:
        return {}
    refused: dict[str, str] = {}
    for change in changes:
        refused |= _set(client, url, [change])
    return refused


def _is_refused_value(code: str) -> bool:
    """Return whether SQS refused an attribute's value, rather than the caller, the rate or the queue."""
    return any(word in code for word in ("Attribute", "InvalidParameter", "Unsupported"))


def _set_attributes(client: SQSClient, url: str, changes: list[Change]) -> None:
    attributes: dict[Any, str] = {change.name: change.new for change in changes}
    client.set_queue_attributes(QueueUrl=url, Attributes=attributes)


def _summary(plan: QueuePlan, refused: Mapping[str, str]) -> str:
    if "VisibilityTimeout" in plan.attributes:
        return f"visibility timeout {plan.attributes['VisibilityTimeout']} s"
    return "" if "MessageRetentionPeriod" in refused else f"keeps messages {DEAD_LETTER_RETENTION // 86_400} days"
