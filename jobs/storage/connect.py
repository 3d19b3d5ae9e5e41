"""The only place that creates AWS clients: bounded timeouts, few retries, one user agent, one client per process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from jobclaim.jobs.locks import ProcessLock
from jobclaim.settings import Service, Settings

USER_AGENT: Final = "jobclaim/0.1"
"""A fixed user agent saves botocore from building one per request: 18 % of an UpdateItem's CPU time."""

CONNECTIONS: Final = 512
"""Connections that may stay open between requests: as many as there are concurrent threads or greenlets. Beyond that,
one is opened for each request, and closed with a warning."""


def client(settings: Settings, service: Service, *, attempts: int = 2) -> Any:
    """Create a boto3 client for one service; the client is thread-safe.

    By default boto3 waits 60 s for an answer; here, connecting takes at most ``connect_timeout_seconds``, an answer
    ``read_timeout_seconds``, and a request is made at most ``attempts`` times. A loopback endpoint without credentials
    in the environment gets fake ones, so local development needs none.
    """
    import boto3
    from botocore.config import Config

    endpoint = settings.endpoint(service)
    config = Config(
        connect_timeout=settings.connect_timeout_seconds,
        read_timeout=settings.read_timeout_seconds,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        user_agent=USER_AGENT,
        tcp_keepalive=True,
        max_pool_connections=CONNECTIONS,
        proxies={} if is_loopback(endpoint) else None,  # a proxy from the environment cannot reach our loopback
    )
    session: Any = boto3.session.Session(region_name=settings.region)
    fake = fake_credentials(endpoint)
    keys = {"aws_access_key_id": fake.access_key, "aws_secret_access_key": fake.secret_key} if fake else {}
    return session.client(service, endpoint_url=endpoint, config=config, **keys)


class PerProcess:
    """An expensive object that must not cross a fork: created on first use, once per process.

    Parameters
    ----------
    make : callable
        Creates the object; called once per process, under a lock.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._lock = ProcessLock()
        self._pid = 0
        self._thing: Any = None
        self._inherited: list[Any] = []

    @property
    def is_made(self) -> bool:
        """Whether this process has its object."""
        return self._pid == os.getpid()

    def get(self) -> Any:
        """Return this process's own object."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    if self._thing is not None:
                        self._inherited.append(self._thing)  # dropping it would close what the parent still uses
                    self._thing = self._make()
                    self._pid = os.getpid()
        return self._thing


def is_loopback(endpoint: str | None) -> bool:
    """Check whether an endpoint is on this machine."""
    return endpoint is not None and urlsplit(endpoint).hostname in ("127.0.0.1", "localhost", "::1")


def fake_credentials(endpoint: str | None) -> Any:
    """Return credentials for a loopback endpoint where the environment has none; else ``None``."""
    from botocore.credentials import Credentials

    named = "AWS_ACCESS_KEY_ID" in os.environ or "AWS_PROFILE" in os.environ
    return Credentials("local", "local") if is_loopback(endpoint) and not named else None
