"""Authentication: who sent a request, and what that person may do.

::

    dashboard_alb set       the load balancer's signed header; a request without it may sign in with a password
    dashboard_users set     a name and its password
    neither                 this machine only: a viewer, or an operator with `jobclaim dashboard --operator`

Without sign-in, a request with signs of a proxy is refused. This is a safety net, not a barrier: a tunnel, or a proxy
that speaks HTTP/1.1 and adds no header, looks like a browser of this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

from jobclaim.dashboard.person import SCOPE_KEY, Person, Role
from jobclaim.dashboard.security import alb, basic
from jobclaim.dashboard.security.asgi import (
    HEALTH,
    SAFE_METHODS,
    App,
    Headers,
    Receive,
    Refusal,
    Scope,
    Send,
    path_of,
    refuse,
    wait_token_of,
)
from jobclaim.dashboard.security.turns import PLACES
from jobclaim.jobs.clock import Clock, system_clock
from jobclaim.settings import Settings

Access: TypeAlias = Callable[[Scope], Person | Refusal]
"""Authenticates one request; runs in a thread, so it may block."""

FORWARDED: Final = frozenset({"forwarded", "via", "x-real-ip"})
FORWARDED_PREFIX: Final = "x-forwarded"
OLD_HTTP: Final = frozenset({"0.9", "1.0"})
"""Not used by browsers. Older nginx uses them towards its upstream, and does not identify itself otherwise."""
LOCAL_ONLY: Final = Refusal(
    403,
    "local",
    "without JOBCLAIM_DASHBOARD_USERS or JOBCLAIM_DASHBOARD_ALB the dashboard answers only browsers on its own "
    "machine, without a proxy or HTTP/1.0; set one of them",
)
LOOKS_ONLY: Final = Refusal(
    403,
    "role",
    "you have read-only access; ask an operator, or run `jobclaim dashboard --operator` on your own machine",
)


class RefusedToServe(ValueError):
    """The dashboard would be open to unauthenticated users; the message says what to set."""


def access_of(
    settings: Settings, *, operator: bool = False, user: str = "local", clock: Clock = system_clock
) -> Access:
    """Choose the authentication from the settings.

    Parameters
    ----------
    operator : bool
        Whether local users may act when sign-in is not configured.
    user : str
        Their name in that case.
    """
    passwords = basic.Passwords(settings.dashboard_users, clock=clock) if settings.dashboard_users else None
    if settings.dashboard_alb is not None:
        return _by_token(alb.AlbTokens(settings.dashboard_alb, clock=clock), passwords)
    if passwords is not None:
        return lambda scope: passwords.person(Headers.of(scope).one("authorization"), client_of(scope))
    return local_access(Person(user, Role.OPERATOR if operator else Role.VIEWER))


def _by_token(tokens: alb.AlbTokens, passwords: basic.Passwords | None) -> Access:
    def judge(scope: Scope) -> Person | Refusal:
        headers = Headers.of(scope)
        if alb.HEADER in headers or passwords is None:
            return tokens.person(headers.one(alb.HEADER))  # a password does not make up for an invalid token
        return passwords.person(headers.one("authorization"), client_of(scope))

    return judge


def client_of(scope: Scope) -> str:
    """Return the address that a request came from; a proxy in front is one client."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def local_access(person: Person) -> Access:
    """Authenticate every request from this machine as one person."""

    def judge(scope: Scope) -> Person | Refusal:
        client = scope.get("client")
        if shows_a_proxy(scope) or (client is not None and not is_loopback(client[0])):
            return LOCAL_ONLY
        return person

    return judge


def shows_a_proxy(scope: Scope) -> bool:
    """Return whether a request shows that it was proxied; one without such signs may have been proxied too."""
    names = Headers.of(scope).names()
    forwarded = any(name in FORWARDED or name.startswith(FORWARDED_PREFIX) for name in names)
    return forwarded or scope.get("http_version") in OLD_HTTP


def is_loopback(host: str) -> bool:
    """Return whether an address is loopback; a name other than localhost may point anywhere."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def check_bind(host: str, settings: Settings, *, operator: bool = False) -> None:
    """Refuse an address that unauthenticated users could reach, or one without a configured host name.

    Raises
    ------
    RefusedToServe
    """
    signs_in = bool(settings.dashboard_users or settings.dashboard_alb)
    if operator and signs_in:
        raise RefusedToServe(
            "--operator is for a dashboard without sign-in; with sign-in, name operators in JOBCLAIM_DASHBOARD_USERS "
            "or JOBCLAIM_DASHBOARD_ALB"
        )
    if is_loopback(host):
        return
    if not signs_in:
        raise RefusedToServe(
            f"--host {host} would show every job to anyone who can reach this machine; set JOBCLAIM_DASHBOARD_USERS "
            "or JOBCLAIM_DASHBOARD_ALB first, or stay on 127.0.0.1"
        )
    if not settings.dashboard_hosts:
        raise RefusedToServe(
            f"--host {host} needs the name that people's browsers use; set JOBCLAIM_DASHBOARD_HOSTS=jobs.example.com"
        )


class AccessGuard:
    """ASGI middleware that admits persons whom `Access` authenticates, and lets only operators make changes.

    A sender with the token of a wait may resume it and see nothing: the token is checked with the job.
    """

    def __init__(self, app: App, *, access: Access) -> None:
        self._app = app
        self._access = access
        self._threads: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or path_of(scope) == HEALTH:
            return await self._app(scope, receive, send)
        if token := wait_token_of(scope):
            holder = Person("the holder of its token", Role.HOLDER, token)
            return await self._app({**scope, SCOPE_KEY: holder}, receive, send)
        person = await self._person(scope)
        if isinstance(person, Person) and scope["method"] not in SAFE_METHODS and not person.may_act:
            person = LOOKS_ONLY
        if isinstance(person, Refusal):
            return await refuse(person, send)
        return await self._app({**scope, SCOPE_KEY: person}, receive, send)

    async def _person(self, scope: Scope) -> Person | Refusal:
        """Authenticate in separate threads: requests that wait for a password check must not delay pages."""
        from anyio import CapacityLimiter
        from anyio.to_thread import run_sync

        if self._threads is None:
            self._threads = CapacityLimiter(PLACES)
        return await run_sync(self._access, scope, limiter=self._threads)
