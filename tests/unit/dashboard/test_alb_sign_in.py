"""A load balancer's signed header: what is believed, and every forgery that is not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jobclaim.dashboard.person import Person, Role
from jobclaim.dashboard.security import access_of
from jobclaim.dashboard.security.alb import FETCHES, HEADER, AlbTokens, NoKey, fetch_key
from jobclaim.dashboard.security.asgi import Refusal
from jobclaim.dashboard.security.basic import hash_password
from jobclaim.settings import DashboardAlb, Settings
from tests.support.clock import ManualClock

SIGNER = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:loadbalancer/app/jobs/0123456789abcdef"
OTHER_SIGNER = SIGNER.replace("123456789012", "999999999999")
ISSUER = "https://sign-in.example.com"
KID = "11111111-2222-3333-4444-555555555555"
KEY = ec.generate_private_key(ec.SECP256R1())
STRANGER = ec.generate_private_key(ec.SECP256R1())
EXPECTED = DashboardAlb(signer=SIGNER, issuer=ISSUER, client="jobclaim", operators=("ann@example.com", "operators"))


def pem(key: Any) -> bytes:
    written: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return written


def encoded(value: Any, *, padded: bool = True) -> bytes:
    raw = base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode())
    return raw if padded else raw.rstrip(b"=")


class Keys:
    """AWS's address of public keys."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = {KID: pem(KEY)}

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        found = self.answers.get(url.rpartition("/")[2])
        if found is None:
            raise NoKey("404")
        return found


class Balancer:
    """Signs as a load balancer does, or as somebody who would like to be one."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock

    def token(self, header: Any = None, claims: Any = None, *, key: Any = KEY, padded: bool = True) -> str:
        exp = self.clock() // 1000 + 120
        whole = {
            "typ": "JWT",
            "alg": "ES256",
            "kid": KID,
            "signer": SIGNER,
            "iss": ISSUER,
            "client": "jobclaim",
            "exp": exp,
            **(header or {}),
        }
        said = {"sub": "1234", "email": "ann@example.com", "exp": exp, "iss": ISSUER, **(claims or {})}
        parts = [encoded({k: v for k, v in part.items() if v is not ABSENT}, padded=padded) for part in (whole, said)]
        signing = b".".join(parts)
        signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(signing, key)
        return (signing + b"." + encoded(signature, padded=padded)).decode()


class Absent:
    """Stands for a claim that is left out; its name is the same in every process that collects the tests."""

    def __repr__(self) -> str:
        return "absent"


ABSENT = Absent()


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def balancer(clock: ManualClock) -> Balancer:
    return Balancer(clock)


@pytest.fixture
def judge(keys: Keys, clock: ManualClock) -> Callable[[str | None], Person | Refusal]:
    return AlbTokens(EXPECTED, fetch=keys, clock=clock).person


def status(answer: Person | Refusal) -> int:
    return answer.status if isinstance(answer, Refusal) else 200


@pytest.mark.parametrize("padded", [True, False], ids=["padded as load balancers do", "unpadded"])
def test_a_genuine_header_names_the_person(judge: Any, balancer: Balancer, keys: Keys, padded: bool) -> None:
    assert judge(balancer.token(padded=padded)) == Person("ann@example.com", Role.OPERATOR)
    assert judge(balancer.token(claims={"email": "bob@example.com"})) == Person("bob@example.com", Role.VIEWER)
    assert keys.asked == [f"https://public-keys.auth.elb.eu-central-1.amazonaws.com/{KID}"], "once"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ({"signer": OTHER_SIGNER}, {}),
        ({"signer": ABSENT}, {}),
        ({"signer": [SIGNER]}, {}),
        ({"client": "other"}, {}),
        ({"client": ABSENT}, {}),
        ({"iss": "https://evil.example"}, {}),
        ({"iss": ABSENT}, {}),
        ({}, {"iss": "https://evil.example"}),
        ({"alg": "none"}, {}),
        ({"alg": "HS256"}, {}),
        ({"alg": "ES384"}, {}),
        ({"alg": "es256"}, {}),
        ({"alg": ABSENT}, {}),
        ({"exp": ABSENT}, {}),
        ({"exp": "9999999999"}, {}),
        ({"exp": True}, {}),
        ({"exp": None}, {}),
        ({}, {"exp": "never"}),
        ({"kid": ABSENT}, {}),
        ({"kid": "../../evil"}, {}),
        ({"kid": f"{KID}/../evil"}, {}),
        ({"kid": f"{KID}\n"}, {}),
        ({"kid": f"{KID}?x=1"}, {}),
        ({"kid": "https://evil.example/key"}, {}),
        ({"kid": [KID]}, {}),
        ({"crit": ["b64"], "b64": False}, {}),
        ({"b64": False}, {}),
    ],
    ids=str,
)
def test_a_well_signed_header_of_anybody_else_is_refused(
    judge: Any, balancer: Balancer, keys: Keys, header: Any, claims: Any
) -> None:
    assert status(judge(balancer.token(header, claims))) == 401
    assert all(url.endswith(f"/{KID}") for url in keys.asked), "no key is fetched from where the token says"


def test_a_header_that_another_key_signed_is_refused(judge: Any, balancer: Balancer) -> None:
    assert status(judge(balancer.token(key=STRANGER))) == 401


def test_a_key_named_in_the_header_is_not_believed(judge: Any, balancer: Balancer) -> None:
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(STRANGER.public_key()))
    assert status(judge(balancer.token({"jwk": jwk, "jku": "https://evil.example"}, key=STRANGER))) == 401


def test_alg_none_and_the_public_key_as_a_secret_are_refused(judge: Any, balancer: Balancer) -> None:
    header, claims, _ = balancer.token().split(".")
    unsigned = encoded({"alg": "none", "kid": KID, "signer": SIGNER, "iss": ISSUER, "client": "jobclaim"}).decode()
    assert status(judge(f"{unsigned}.{claims}.")) == 401
    assert status(judge(f"{header}.{claims}.")) == 401
    confused = encoded({"alg": "HS256", "kid": KID, "signer": SIGNER, "iss": ISSUER, "client": "jobclaim"}).decode()
    mac = hmac.new(pem(KEY), f"{confused}.{claims}".encode(), hashlib.sha256).digest()
    assert status(judge(f"{confused}.{claims}.{encoded(mac).decode()}")) == 401


def test_changed_claims_are_refused(judge: Any, balancer: Balancer) -> None:
    header, _, signature = balancer.token(claims={"email": "bob@example.com"}).split(".")
    assert status(judge(f"{header}.{balancer.token().split('.')[1]}.{signature}")) == 401


def test_an_expired_header_is_refused_in_either_place(judge: Any, balancer: Balancer, clock: ManualClock) -> None:
    now = clock() // 1000
    for header, claims in (({"exp": now - 6}, {}), ({}, {"exp": now - 6}), ({"exp": 0}, {}), ({"exp": -1e400}, {})):
        answer = judge(balancer.token(header, claims))
        assert status(answer) == 401
    token = balancer.token()
    assert status(judge(token)) == 200
    clock.advance(130)
    assert judge(token).text == "the sign-in sent by the load balancer has expired; reload the page"


@pytest.mark.parametrize(
    "token",
    [
        *(None, "", ".", "..", "...", "a.b.c", "\x00", "e30.e30.e30", "e30", "bnVsbA.bnVsbA.x", "W10.W10.x", "é.é.é"),
        *("." * 1000, "x" * 20_000, "[" * 9000 + ".e30.e30", encoded(b"[" * 9000).decode() + ".e30.e30"),
    ],
    ids=lambda token: str(token)[:12] or "empty",
)
def test_what_is_no_token_is_refused(judge: Any, keys: Keys, token: str | None) -> None:
    assert status(judge(token)) == 401
    assert keys.asked == []


def test_a_person_without_a_name_or_with_an_unproven_address_is_refused(judge: Any, balancer: Balancer) -> None:
    for claims in (
        {"email": ABSENT},
        {"email": ""},
        {"email": 7},
        {"email": "\u202e\x00 "},
        {"email_verified": "false"},
    ):
        assert status(judge(balancer.token(claims=claims))) == 403
    assert status(judge(balancer.token(claims={"email_verified": False}))) == 403
    assert status(judge(balancer.token(claims={"email_verified": "true"}))) == 200


def test_operators_may_be_a_group(keys: Keys, balancer: Balancer, clock: ManualClock) -> None:
    expected = EXPECTED.model_copy(update={"operator_claim": "groups", "user_claim": "sub"})
    judge = AlbTokens(expected, fetch=keys, clock=clock).person
    for groups, role in (
        (["users", "operators"], Role.OPERATOR),
        ("operators", Role.OPERATOR),
        (["users"], Role.VIEWER),
        ({"operators": True}, Role.VIEWER),
        ([["operators"]], Role.VIEWER),
        (None, Role.VIEWER),
    ):
        assert judge(balancer.token(claims={"groups": groups})) == Person("1234", role)


def test_an_unproven_address_makes_nobody_an_operator(keys: Keys, balancer: Balancer, clock: ManualClock) -> None:
    expected = EXPECTED.model_copy(update={"operator_claim": "email", "user_claim": "sub"})
    judge = AlbTokens(expected, fetch=keys, clock=clock).person
    for unproven in (False, "false", None, 0):
        assert status(judge(balancer.token(claims={"email_verified": unproven}))) == 403
    for proven in (True, "true", ABSENT):
        assert judge(balancer.token(claims={"email_verified": proven})) == Person("1234", Role.OPERATOR)


def test_an_unproven_address_that_decides_nothing_is_no_matter(
    keys: Keys, balancer: Balancer, clock: ManualClock
) -> None:
    expected = EXPECTED.model_copy(update={"operator_claim": "groups", "user_claim": "sub"})
    judge = AlbTokens(expected, fetch=keys, clock=clock).person
    assert judge(balancer.token(claims={"email_verified": False})) == Person("1234", Role.VIEWER)


# --- keys
def test_unknown_keys_are_not_asked_for_without_end(
    judge: Any, balancer: Balancer, keys: Keys, clock: ManualClock
) -> None:
    assert status(judge(balancer.token())) == 200
    forged = [balancer.token({"kid": f"{n:08}-2222-3333-4444-555555555555"}) for n in range(3 * FETCHES)]
    assert {status(judge(token)) for token in forged} == {503}
    assert len(keys.asked) == FETCHES
    assert status(judge(balancer.token())) == 200, "who has a known key goes on"
    clock.advance(61)
    assert status(judge(balancer.token({"kid": "99999999-2222-3333-4444-555555555555"}))) == 503
    assert len(keys.asked) == FETCHES + 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>sign in</html>",
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ec.generate_private_key(ec.SECP384R1())),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ],
    ids=["nothing", "a page", "RSA", "another curve", "broken"],
)
def test_what_is_no_key_for_es256_makes_nobody_known(judge: Any, balancer: Balancer, keys: Keys, answer: bytes) -> None:
    keys.answers[KID] = answer
    assert status(judge(balancer.token())) == 503
    keys.answers[KID] = pem(KEY)
    assert status(judge(balancer.token())) == 200, "and it is not remembered"


def test_keys_are_fetched_without_redirects_or_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/moved" else 200)
            self.send_header("Location", "/key")
            self.end_headers()
            self.wfile.write(pem(KEY))

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        assert fetch_key(f"{base}/key") == pem(KEY)
        with pytest.raises(NoKey):
            fetch_key(f"{base}/moved")
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(NoKey):
        fetch_key(f"{base}/key")


# --- beside passwords
def scope(*headers: tuple[str, str]) -> Any:
    return {"type": "http", "headers": [(name.encode(), value.encode()) for name, value in headers]}


def test_beside_the_load_balancer_programs_sign_in_with_passwords(clock: ManualClock) -> None:
    users: Any = {"prometheus": {"password": hash_password("s3cret")}}
    access = access_of(Settings(dashboard_alb=EXPECTED, dashboard_users=users), clock=clock)
    basic = ("authorization", "Basic " + base64.b64encode(b"prometheus:s3cret").decode())
    assert access(scope(basic)) == Person("prometheus", Role.VIEWER)
    assert status(access(scope(basic, (HEADER, "forged")))) == 401, "a password does not mend a forged header"
    assert status(access(scope((HEADER, "a"), (HEADER, "b")))) == 401
    assert status(access(scope())) == 401


def test_where_the_load_balancer_signs_in_nobody_else_does(clock: ManualClock) -> None:
    access = access_of(Settings(dashboard_alb=EXPECTED), clock=clock)
    assert status(access({**scope(), "client": ("127.0.0.1", 1)})) == 401
