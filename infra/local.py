"""The embedded AWS of `jobclaim dev`, `jobclaim demo` and the tests: DynamoDB and SQS on loopback.

It loses all data when it stops and accepts every credential: for development only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.infra.errors import LocalAwsError
from jobclaim.settings import Settings

HOST: Final = "127.0.0.1"
FAKE_KEY: Final = "jobclaim"
"""Alphanumeric, because DynamoDB Local requires it; moto accepts any value."""


@dataclass(frozen=True, slots=True)
class LocalAws:
    """A running local AWS.

    Attributes
    ----------
    endpoint_url : str
        ``http://127.0.0.1:<port>``, for every service.
    settings : Settings
        The given settings with its endpoints.
    """

    endpoint_url: str
    settings: Settings

    def environment(self) -> dict[str, str]:
        """Return environment variables that point a child process at it; they override the parent's own."""
        direct = {"no_proxy": _and_loopback("no_proxy"), "NO_PROXY": _and_loopback("NO_PROXY")}
        return direct | {
            "JOBCLAIM_ENDPOINT_URL": self.endpoint_url,
            # Set as well, so that a `.env` that points one service elsewhere does not take precedence.
            "JOBCLAIM_DYNAMODB_ENDPOINT_URL": self.endpoint_url,
            "JOBCLAIM_SQS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": FAKE_KEY,
            "AWS_SECRET_ACCESS_KEY": FAKE_KEY,
            "AWS_DEFAULT_REGION": self.settings.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@contextmanager
def local_aws(settings: Settings | None = None, *, port: int = 0) -> Iterator[LocalAws]:
    """Run DynamoDB and SQS on loopback for the duration of the block.

    Conditional writes are atomic, as on AWS: requests to DynamoDB are answered one at a time. Several may run at once
    in one process; each has its own tables and queues.

    Parameters
    ----------
    settings : Settings, optional
        Settings to copy; default ``Settings()``.
    port : int
        Port on 127.0.0.1; 0 takes a free one.

    Yields
    ------
    LocalAws
        It has no tables or queues yet: call `provision` with its settings.

    Raises
    ------
    LocalAwsError
        moto is not installed, or the port is taken.
    """
    base = settings if settings is not None else Settings()
    server = _server(port)
    try:
        url = server.url
        here = {"endpoint_url": url, "dynamodb_endpoint_url": url, "sqs_endpoint_url": url, "queue_urls": {}}
        yield LocalAws(url, base.model_copy(update=here))
    finally:
        server.stop()


def _and_loopback(variable: str) -> str:
    """Return the hosts that need no proxy, with loopback added."""
    hosts = os.environ.get(variable, "")
    return f"{hosts},{HOST}" if hosts else HOST


def _server(port: int) -> Any:
    try:
        from jobclaim.infra.local_server import LocalServer
    except ModuleNotFoundError as error:
        raise LocalAwsError(
            f"the embedded AWS needs moto, and {error.name!r} is missing; run `pip install jobclaim[local]`"
        ) from error
    try:
        return LocalServer(HOST, port)
    except (OSError, OverflowError) as error:
        raise LocalAwsError(
            f"the embedded AWS cannot listen on {HOST}:{port}: {error}; choose another port, or 0 for a free one"
        ) from error
