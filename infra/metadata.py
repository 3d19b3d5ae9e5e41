"""Read the notices of an EC2 instance's end from its metadata service (IMDSv2).

Two sources announce the end: ``spot/instance-action``, two minutes before EC2 takes a spot instance back;
and ``autoscaling/target-lifecycle-state``, when its group scales in or replaces it and waits for a lifecycle hook.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

from jobclaim.infra.errors import InfraError

METADATA_URL: Final = "http://169.254.169.254"
SPOT: Final = "spot/instance-action"
LIFECYCLE: Final = "autoscaling/target-lifecycle-state"
TERMINATED: Final = "Terminated"
TOKEN_SECONDS: Final = 21_600
ANSWER_SECONDS: Final = 1.0
"""Seconds to wait for an answer; the service is on the same host."""
SPOT_NOTICE_SECONDS: Final = 120
"""Seconds between the notice and the end of a spot instance, by AWS."""
POLL_SECONDS: Final = 2.0
"""Seconds between two looks. AWS suggests five; a worker needs 111 of the 120 s to finish and release its jobs."""


class MetadataError(InfraError):
    """The metadata service did not answer as EC2's does."""


@dataclass(frozen=True, slots=True)
class Notice:
    """The notice that the instance will end.

    Attributes
    ----------
    by : {"spot", "autoscaling"}
        Who ends it.
    at : float, optional
        When, epoch seconds; ``None`` if the group waits for its lifecycle hook.
    """

    by: Literal["spot", "autoscaling"]
    at: float | None = None


class Metadata:
    """A client of one metadata service.

    Parameters
    ----------
    url : str
        Base address; tests name a server of their own.
    """

    def __init__(self, url: str = METADATA_URL) -> None:
        if not url.startswith(("http://", "https://")):
            raise MetadataError(f"the metadata service {url!r} is not an http address; use {METADATA_URL}")
        self._url = url.rstrip("/")
        self._token: str | None = None
        self._open = build_opener(ProxyHandler({})).open  # the address is link-local: no proxy can reach it

    def notice(self) -> Notice | None:
        """Return the current notice, a spot interruption before any other; ``None`` if there is none.

        Raises
        ------
        MetadataError
            The service cannot be reached, refuses the request, or answers something else.
        """
        if (action := self._get(SPOT)) is not None:
            return spot_notice(action)
        return Notice("autoscaling") if self._get(LIFECYCLE) == TERMINATED else None

    def instance_id(self) -> str:
        """Return the id of this instance."""
        found = self._get("instance-id")
        if found is None:
            raise MetadataError(f"{self._url} returned no instance-id; run this on an EC2 instance")
        return found

    def _get(self, path: str) -> str | None:
        for _ in range(2):
            token = self._token or self._new_token()
            status, body = self._ask("GET", f"meta-data/{path}", {"X-aws-ec2-metadata-token": token})
            if status == 200:
                return body.strip()
            if status == 404:
                return None
            self._token = None  # 401: the token has expired
        raise MetadataError(f"{self._url} answered {status} to {path}; the instance's metadata options may forbid it")

    def _new_token(self) -> str:
        status, body = self._ask("PUT", "api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)})
        if status != 200:
            raise MetadataError(
                f"{self._url} answered {status} instead of giving an IMDSv2 token; enable the metadata service"
            )
        self._token = body
        return body

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        request = Request(f"{self._url}/latest/{path}", method=method, headers=headers)  # noqa: S310 - checked above
        try:
            with self._open(request, timeout=ANSWER_SECONDS) as answer:
                return int(answer.status), answer.read().decode(errors="replace")
        except HTTPError as error:
            with error:
                return error.code, ""
        except (URLError, OSError) as error:
            raise MetadataError(f"{self._url} does not answer: {error}; is this an EC2 instance?") from error


def spot_notice(text: str) -> Notice:
    """Read ``{"action": "terminate", "time": "2026-01-31T08:02:00Z"}``; ``stop`` and ``hibernate`` end it as well.

    A notice whose time cannot be read still counts; its time is unknown.
    """
    try:
        at = datetime.fromisoformat(str(json.loads(text)["time"]))
    except (ValueError, KeyError, TypeError):
        return Notice("spot")
    return Notice("spot", at.timestamp() if at.tzinfo else None)


def wait_for_notice(look: Callable[[], Notice | None], pause: Callable[[], bool]) -> Notice | None:
    """Poll until there is a notice; ``None`` when ``pause`` says that it was asked to end."""
    while (found := look()) is None:
        if pause():
            return None
    return found


def stop_deadline(notice: Notice, now: float, within: float) -> float:
    """Return when the worker must have ended, in epoch seconds: by the notice's time, or ``within`` seconds from now.

    A spot instance whose notice has no readable time is assumed to end in two minutes.
    """
    if notice.by == "autoscaling":
        return now + within
    return notice.at if notice.at is not None else now + SPOT_NOTICE_SECONDS
