"""Identity from a load balancer's signed header, accepted only if every part of it is as configured.

::

    header   alg ES256 and nothing else     signer is our load balancer     client and iss are our OIDC action's
             kid is an id, no path          exp has not passed
    key      from AWS's own address of that region, by kid, once per process
    claims   exp and iss once more if present, then the person's name

Every AWS customer's load balancer has its keys at the same address, so only `signer` proves that it is ours.
"""

from __future__ import annotations

import re
import threading
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.error import URLError

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from jobclaim.dashboard.person import Person, Role
from jobclaim.dashboard.security.asgi import Refusal
from jobclaim.jobs.clock import Clock, system_clock
from jobclaim.settings import DashboardAlb

HEADER: Final = "x-amzn-oidc-data"
LONGEST: Final = 16_384
SKEW_MS: Final = 5_000
"""How far our clock may be ahead of the load balancer's."""
KEY_URL: Final = "https://public-keys.auth.elb.{region}.amazonaws.com"
KEY_SECONDS: Final = 3.0
KEY_BYTES: Final = 4096
KEYS: Final = 32
FETCHERS: Final = 4
"""Most requests that wait for a key; more are refused at once, so that forged tokens do not use up the threads."""
FETCHES: Final = 30
FETCHES_MS: Final = 60_000
"""Most key requests in that time, which limits the cost of unknown kids in forged tokens."""

_KID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

ASK: Final = Refusal(401, "token", "the request carries no sign-in; open the dashboard through the load balancer")
EXPIRED: Final = Refusal(401, "token", "the sign-in sent by the load balancer has expired; reload the page")
FORGED: Final = Refusal(
    401, "token", "the signature was not made by the configured load balancer; compare JOBCLAIM_DASHBOARD_ALB with it"
)
NO_KEY: Final = Refusal(
    503,
    "token",
    "the load balancer's public key could not be fetched; allow this service to reach the URL of the region's keys",
)
NAMELESS: Final = Refusal(
    403,
    "token",
    "your sign-in does not have the claim that names the user; correct user_claim in JOBCLAIM_DASHBOARD_ALB",
)
UNPROVEN: Final = Refusal(
    403, "token", "your identity provider has not verified your email address; verify it there, then sign in again"
)


class NoKey(Exception):
    """The public key is unavailable."""


class AlbTokens:
    """Reads `HEADER`; thread-safe.

    Parameters
    ----------
    fetch : callable
        Returns the content of a URL; raises `NoKey`.
    clock : Clock
        Epoch milliseconds.
    """

    def __init__(
        self, expected: DashboardAlb, *, fetch: Callable[[str], bytes] | None = None, clock: Clock = system_clock
    ) -> None:
        self._expected = expected
        self._clock = clock
        region = expected.signer.split(":")[3]
        self._keys = PublicKeys(expected.key_url or KEY_URL.format(region=region), fetch or fetch_key, clock)

    def person(self, token: str | None) -> Person | Refusal:
        """Authenticate the header's value. May fetch a public key, which blocks briefly."""
        if not token:
            return ASK
        try:
            header = jwt.get_unverified_header(token) if len(token) <= LONGEST else {}
            refusal = self._header_refusal(header)
            if refusal is not None:
                return refusal
            claims = jwt.decode(token, self._keys.get(header["kid"]), algorithms=["ES256"], options=UNCHECKED)
        except NoKey:
            return NO_KEY
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return FORGED
        return self._claims_refusal(claims) or self._person(claims)

    def _header_refusal(self, header: Mapping[str, Any]) -> Refusal | None:
        expected = self._expected
        required = {"alg": "ES256", "signer": expected.signer, "client": expected.client, "iss": expected.issuer}
        if any(header.get(name) != value for name, value in required.items()) or "crit" in header or "b64" in header:
            return FORGED
        kid = header.get("kid")
        if not isinstance(kid, str) or not _KID.fullmatch(kid):
            return FORGED
        return self._time_refusal(header.get("exp"))

    def _claims_refusal(self, claims: Mapping[str, Any]) -> Refusal | None:
        if claims.get("iss", self._expected.issuer) != self._expected.issuer:
            return FORGED
        return self._time_refusal(claims["exp"]) if "exp" in claims else None

    def _time_refusal(self, expiry: Any) -> Refusal | None:
        if isinstance(expiry, bool) or not isinstance(expiry, int | float):
            return FORGED
        return EXPIRED if not expiry * 1000 > self._clock() - SKEW_MS else None

    def _person(self, claims: Mapping[str, Any]) -> Person | Refusal:
        expected = self._expected
        name = claims.get(expected.user_claim)
        if _is_unproven(claims) and "email" in (expected.user_claim, expected.operator_claim):
            return UNPROVEN
        if not isinstance(name, str):
            return NAMELESS
        name = _UNPRINTABLE.sub("", name).strip()[:200]
        groups = claims.get(expected.operator_claim or expected.user_claim)
        held = groups if isinstance(groups, list) else [groups]
        may_act = any(isinstance(group, str) and group in expected.operators for group in held)
        return Person(name, Role.OPERATOR if may_act else Role.VIEWER) if name else NAMELESS


def _is_unproven(claims: Mapping[str, Any]) -> bool:
    """Return whether the provider marks the email address as unverified; some providers do not report it."""
    return str(claims.get("email_verified", "true")).lower() != "true"


UNCHECKED: Final[Any] = {"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False}
"""Checks that `AlbTokens` makes itself, by its own clock, or whose claims the load balancer does not send."""


class PublicKeys:
    """The keys at one address, each fetched once."""

    def __init__(self, url: str, fetch: Callable[[str], bytes], clock: Clock) -> None:
        self._url = url.rstrip("/")
        self._fetch = fetch
        self._clock = clock
        self._known: dict[str, EllipticCurvePublicKey] = {}
        self._fetched: list[int] = []
        self._fetching = threading.Lock()
        self._turns = threading.BoundedSemaphore(FETCHERS)

    def get(self, kid: str) -> EllipticCurvePublicKey:
        """Return a key by its id. Raises `NoKey`."""
        known = self._known.get(kid)
        if known is not None:
            return known
        if not self._turns.acquire(blocking=False):
            raise NoKey("several keys are being fetched already")
        try:
            with self._fetching:
                return self._known.get(kid) or self._get(kid)
        finally:
            self._turns.release()

    def _get(self, kid: str) -> EllipticCurvePublicKey:
        self._pace()
        self._known[kid] = key = _public_key(self._fetch(f"{self._url}/{kid}"))
        while len(self._known) > KEYS:
            self._known.pop(next(iter(self._known)))
        return key

    def _pace(self) -> None:
        now = self._clock()
        self._fetched = [at for at in self._fetched if at > now - FETCHES_MS]
        if len(self._fetched) >= FETCHES:
            raise NoKey("too many unknown keys were requested")
        self._fetched.append(now)


def fetch_key(url: str) -> bytes:
    """Fetch a public key, bypassing the environment's proxies and without following redirects."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(url, timeout=KEY_SECONDS) as answer:
            found: bytes = answer.read(KEY_BYTES)
            return found
    except (URLError, OSError, ValueError) as error:
        raise NoKey(str(error)) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _public_key(pem: bytes) -> EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NoKey("the response is not a public key") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise NoKey("the response is not a key for ES256")
    return key
