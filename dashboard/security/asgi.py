"""Shared parts of the guards: ASGI types, a request's headers, and refusals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from jobclaim.jobs.log import get_logger

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
HEALTH: Final = "/healthz"
"""Served without host check and authentication, because load balancers call it by address. It reports only health."""

RESUME: Final = "/api/v1/resume"
"""Served without sign-in to senders with the token of a wait, which the job has handed out."""
WAIT_TOKEN: Final = "x-jobclaim-wait-token"  # noqa: S105 - the name of a header
"""Header with that token. A page of another site cannot make a browser send it."""

log = get_logger("jobclaim.dashboard")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused.

    Attributes
    ----------
    rule : str
        Short name of the rule, for the log.
    text : str
        Message of the response: what was wrong and what to do. Never quotes the request.
    """

    status: int
    rule: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Headers:
    """A request's headers as they were sent: a header that was sent twice appears twice."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    @classmethod
    def of(cls, scope: Scope) -> Headers:
        """Read the headers of an ASGI scope."""
        return cls(scope.get("headers", ()))

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for known, value in self._raw if known == name]

    def one(self, name: str) -> str | None:
        """Return the value of a header that was sent exactly once, else ``None``."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None

    def names(self) -> set[str]:
        """Return every header's name in lower case."""
        return {name for name, _ in self._raw}

    def __contains__(self, name: str) -> bool:
        return any(known == name for known, _ in self._raw)


def path_of(scope: Scope) -> str:
    """Return the path below the dashboard's mount point."""
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root else path


def wait_token_of(scope: Scope) -> str:
    """Return the token of a wait if the request resumes one by token; else an empty string."""
    resumes = scope["type"] == "http" and scope["method"] == "POST" and path_of(scope) == RESUME
    return (Headers.of(scope).one(WAIT_TOKEN) or "") if resumes else ""


async def refuse(refusal: Refusal, send: Send) -> None:
    """Respond with a refusal and log its rule, but nothing of the request, which is untrusted."""
    log.warning("request.refused", rule=refusal.rule, http_status=refusal.status)
    body = f"{refusal.status}: {refusal.text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in refusal.headers),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
