"""Errors of provisioning, of queues and of the embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from jobclaim.jobs.errors import JobError
from jobclaim.jobs.failures.aws_errors import explain_aws
from jobclaim.settings import Settings


class InfraError(JobError):
    """Tables, queues or the local AWS are not as required. Base class of these errors."""


class ProvisionError(InfraError):
    """A table or queue could not be created or updated as wanted; running again is always safe."""


class TableMismatch(ProvisionError):
    """A table of that name exists with a different key or index. Nothing was changed or deleted."""


class QueueNotFound(InfraError, LookupError):
    """A queue of the settings does not exist at the endpoint."""

    def __init__(self, queue: str, physical: str, endpoint: str) -> None:
        super().__init__(
            f"queue {queue!r} ({physical!r}) does not exist at {endpoint}; run `jobclaim up`, or correct "
            "JOBCLAIM_QUEUE_PREFIX, JOBCLAIM_REGION or JOBCLAIM_QUEUE_URLS"
        )


class TemplateError(InfraError):
    """No template can be rendered from these settings."""


class LocalAwsError(InfraError, RuntimeError):
    """The embedded AWS could not start."""


def endpoint_name(settings: Settings, service: str) -> str:
    """Describe the endpoint of a service, for a message."""
    endpoint = settings.endpoint("sqs" if service == "sqs" else "dynamodb")
    return endpoint or f"AWS {settings.region}"


@contextmanager
def explained(settings: Settings, service: str, then: str = "") -> Iterator[None]:
    """Turn botocore's exceptions into a `ProvisionError` that says where, what and what to do.

    Parameters
    ----------
    then : str
        What holds for the caller's work, as the last sentence.

    Raises
    ------
    ProvisionError
        The service refused a request, or the endpoint did not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (ClientError, BotoCoreError) as error:
        explanation = explain_aws(error, endpoint_name(settings, service))
        raise ProvisionError(f"{explanation}. {then}" if then else explanation) from error
