"""Passwords: hashed with scrypt, checked once per process and user, and rate limited against guessing.

A check takes a tenth of a second by design. A correct password is remembered as a keyed digest, so that page views need
no check. Wrong passwords are counted per name and client; after ten in a minute that name is blocked for that client
for a while, whether it exists or not, so that responses do not reveal which names exist; after fifty from all clients
it is blocked for all. Users who signed in before are not affected. Checks come one at a time, in fair turns:
`dashboard.security.turns`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
from collections.abc import Mapping
from typing import Final

from jobclaim.dashboard.person import Person, Role
from jobclaim.dashboard.security.asgi import Refusal
from jobclaim.dashboard.security.turns import Turns
from jobclaim.jobs.clock import Clock, system_clock
from jobclaim.settings import DashboardUser

COST: Final = 2**15
BLOCK: Final = 8
PARALLEL: Final = 3
"""OWASP, "Password Storage Cheat Sheet": scrypt with 32 MiB."""
MEMORY: Final = 256 * 1024 * 1024
LONGEST: Final = 1024
"""Longest name and password together, bytes."""
TRIES: Final = 10
EVERYWHERE: Final = 50
"""Wrong passwords for a name in `TRIES_MS`, from all clients together."""
TRIES_MS: Final = 60_000
REMEMBERED: Final = 1000
COUNTED: Final = 20_000
"""Most names with counted failures: more than can be checked in `TRIES_MS`, so that none is dropped early."""

ASK: Final = Refusal(
    401,
    "password",
    "sign in as a user of JOBCLAIM_DASHBOARD_USERS",
    (("www-authenticate", 'Basic realm="jobclaim", charset="UTF-8"'),),
)
WAIT: Final = Refusal(
    429, "password", "too many wrong passwords for this name; wait a minute", (("retry-after", "60"),)
)

BUSY: Final = Refusal(429, "password", "others are signing in; try again in a moment", (("retry-after", "2"),))


def hash_password(password: str) -> str:
    """Hash a password for `Settings.dashboard_users`: ``scrypt$cost$block$parallelism$salt$key``."""
    salt = secrets.token_bytes(16)
    key = _scrypt(password, salt, COST, BLOCK, PARALLEL)
    return f"scrypt${COST}${BLOCK}${PARALLEL}${_text(salt)}${_text(key)}"


def is_password(password: str, stored: str) -> bool:
    """Compare a password with a hash in constant time. A hash that cannot be computed matches no password."""
    _, cost, block, parallel, salt, key = stored.split("$")
    try:
        found = _scrypt(password, _bytes(salt), int(cost), int(block), int(parallel))
    except ValueError:
        return False
    return hmac.compare_digest(found, _bytes(key))


class Passwords:
    """Authenticates users by name and password; thread-safe.

    Parameters
    ----------
    users : mapping
        `Settings.dashboard_users`.
    clock : Clock
        Epoch milliseconds.
    """

    def __init__(self, users: Mapping[str, DashboardUser], *, clock: Clock = system_clock) -> None:
        self._users = users
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._nobody = hash_password(secrets.token_urlsafe())
        self._known: dict[bytes, str] = {}
        self._wrong: dict[bytes, list[int]] = {}
        self._lock = threading.Lock()
        self._turns = Turns()

    def person(self, authorization: str | None, client: str = "") -> Person | Refusal:
        """Authenticate an Authorization header of a client, by its address.

        Blocks for a tenth of a second if the password is new, and longer while others are checked.
        """
        credentials = _credentials(authorization)
        if credentials is None:
            return ASK
        name, password = credentials
        digest = hmac.digest(self._secret, f"{name}:{password}".encode(), "sha256")
        if self._known.get(digest) != name:
            # one check at a time, so guessing uses at most one core and 32 MiB
            with self._turns.turn(client, name) as admitted:
                refusal = self._check(name, password, digest, client) if admitted else BUSY
            if refusal is not None:
                return refusal
        return Person(name, Role.OPERATOR if self._users[name].operator else Role.VIEWER)

    def _check(self, name: str, password: str, digest: bytes, client: str) -> Refusal | None:
        user = self._users.get(name)
        here, anywhere = self._counted(f"{client}\0{name}"), self._counted(name)
        if self._is_locked(here, TRIES) or self._is_locked(anywhere, EVERYWHERE):
            return WAIT
        right = is_password(password, user.password if user else self._nobody)
        with self._lock:
            if right and user:
                self._wrong.pop(here, None)
                self._remember(digest, name)
                return None
            self._count(here, TRIES)
            self._count(anywhere, EVERYWHERE)
        return ASK

    def _counted(self, text: str) -> bytes:
        """Return a key to count failures by; it is short even if an attacker invents long names."""
        return hmac.digest(self._secret, text.encode(), "sha256")

    def _is_locked(self, counted: bytes, most: int) -> bool:
        since = self._clock() - TRIES_MS
        with self._lock:
            return sum(at > since for at in self._wrong.get(counted, ())) >= most

    def _count(self, counted: bytes, most: int) -> None:
        tries = self._wrong.pop(counted, [])
        self._wrong[counted] = [*tries, self._clock()][-most:]  # re-inserted at the end: the oldest are dropped first
        while len(self._wrong) > COUNTED:
            self._wrong.pop(next(iter(self._wrong)))

    def _remember(self, digest: bytes, name: str) -> None:
        self._known[digest] = name
        while len(self._known) > REMEMBERED:
            self._known.pop(next(iter(self._known)))


def _credentials(authorization: str | None) -> tuple[str, str] | None:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic" or len(encoded) > 2 * LONGEST:
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None


def _scrypt(password: str, salt: bytes, cost: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=parallel, maxmem=MEMORY, dklen=32)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
