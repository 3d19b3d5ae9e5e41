"""The proxy of `jobclaim verify`, in front of the tests' servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jobclaim.verify.faults import (
    BLACK_HOLE,
    MESSAGE_COPIED,
    MESSAGE_LOST,
    RESET,
    RESPONSE_LOST,
    SENDS,
    TABLE_THROTTLE,
    THROTTLE,
    Fault,
    error,
)
from jobclaim.verify.proxy import FaultyProxy, proxied
from tests.support.endpoints import Endpoint

__all__ = [
    "BLACK_HOLE",
    "GARBAGE",
    "MESSAGE_COPIED",
    "MESSAGE_LOST",
    "RESET",
    "RESPONSE_LOST",
    "SENDS",
    "TABLE_THROTTLE",
    "THROTTLE",
    "Fault",
    "FaultyProxy",
    "error",
    "faulty",
]


GARBAGE: Final = Fault("garbage", 200, b"<html>a captive portal</html>")


@contextmanager
def faulty(endpoint: Endpoint) -> Iterator[tuple[FaultyProxy, Endpoint]]:
    """Put a proxy in front of a server until the block ends; gives the proxy and the endpoint that leads through it."""
    with proxied(endpoint.endpoint_url) as (proxy, url):
        yield proxy, Endpoint(endpoint.service, url)
