"""What the guards share: the types of ASGI, a request's headers, and how a request is refused."""

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
"""Answers without a host name and without a person: load balancers ask it by address. It tells nothing but health."""

RESUME: Final = "/api/v1/resume"
"""Answers to whoever brings the token of a wait, without a sign-in: a job gave it out."""
WAIT_TOKEN: Final = "x-jobclaim-wait-token"  # noqa: S105 - the name of a header
"""Header with that token. No page of another site can make a browser send it."""

log = get_logger("jobclaim.dashboard")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not served.

    Attributes
    ----------
    rule : str
        Short name of the rule, for the log.
    text : str
        For whoever reads the answer: what was wrong and what to do. Never quotes the request.
    """

    status: int
    rule: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()


class Headers:
    """A request's headers, as they were sent: a header that came twice is seen twice."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._raw = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]

    @classmethod
    def of(cls, scope: Scope) -> Headers:
        """Read those of an ASGI scope."""
        return cls(scope.get("headers", ()))

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for known, value in self._raw if known == name]

    def one(self, name: str) -> str | None:
        """The value of a header that came exactly once, else ``None``."""
        values = self.all(name)
        return values[0] if len(values) == 1 else None

    def names(self) -> set[str]:
        """Every header's name, in small letters."""
        return {name for name, _ in self._raw}

    def __contains__(self, name: str) -> bool:
        return any(known == name for known, _ in self._raw)


def path_of(scope: Scope) -> str:
    """Path below the place where the dashboard is mounted."""
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root else path


def wait_token_of(scope: Scope) -> str:
    """Token of a wait, where the request resumes one by it; empty otherwise."""
    resumes = scope["type"] == "http" and scope["method"] == "POST" and path_of(scope) == RESUME
    return (Headers.of(scope).one(WAIT_TOKEN) or "") if resumes else ""


async def refuse(refusal: Refusal, send: Send) -> None:
    """Answer with a refusal, and log its rule: nothing of the request, which its sender chose."""
    log.warning("request.refused", rule=refusal.rule, http_status=refusal.status)
    body = f"{refusal.status}: {refusal.text}\n".encode()
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in refusal.headers),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
