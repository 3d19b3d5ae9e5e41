"""Attacks on the dashboard's guards: another site, a rebound name, malformed requests; and what is served."""

from __future__ import annotations

from typing import Any

import pytest

from jobclaim.dashboard.person import SCOPE_KEY, Person, Role
from jobclaim.dashboard.security import RefusedToServe, access_of, check_bind, guarded
from jobclaim.dashboard.security.headers import ALWAYS
from jobclaim.dashboard.security.limits import FORM, MAX_FIELDS, MAX_FORM, FormGuard
from jobclaim.settings import Settings
from tests.support.asgi import Answer, ask

HOST = ("host", "127.0.0.1:8000")
SAME_SITE = ("sec-fetch-site", "same-origin")
FORM_TYPE = ("content-type", FORM)


class Inner:
    """The app behind the guards: notes what reaches it, and who sent it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.people: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        self.seen.append((scope["method"], scope["path"], body))
        self.people.append(scope.get(SCOPE_KEY))
        headers = [(b"content-type", b"text/html"), (b"Cache-Control", b"public"), (b"X-Frame-Options", b"ALLOWALL")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"served"})


@pytest.fixture
def inner() -> Inner:
    return Inner()


@pytest.fixture
def app(inner: Inner) -> Any:
    """The guards as an operator of this machine meets them."""
    settings = Settings(dashboard_hosts=("jobs.example.com",))
    return guarded(inner, settings, access_of(settings, operator=True, user="ann"))


def post(app: Any, *headers: tuple[str, str], pieces: tuple[bytes, ...] = (b"a=1",), target: str = "/x") -> Answer:
    return ask(app, "POST", target, [HOST, FORM_TYPE, *headers], pieces=pieces)


# --- names (DNS rebinding)
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:9000", "LOCALHOST:8000", "[::1]:8000", "jobs.example.com", "jobs.example.com.:443"]
)
def test_our_own_names_are_served(app: Any, host: str) -> None:
    assert ask(app, headers=[("host", host)]).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "evil.example:8000",
        "jobs.example.com.evil.example",
        "xjobs.example.com",
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "localhost, evil.example",
        "localhost:8000:8000",
        "localhost:",
        "[::1",
        "0.0.0.0",  # noqa: S104
        "2130706433",
        "",
        " ",
    ],
)
def test_a_rebound_name_is_refused(app: Any, inner: Inner, host: str) -> None:
    assert ask(app, headers=[("host", host)]).status in (400, 421)
    assert inner.seen == []


def test_a_request_with_no_host_or_two_is_refused(app: Any, inner: Inner) -> None:
    assert ask(app).status == 400
    assert ask(app, headers=[HOST, ("host", "evil.example")]).status == 400
    assert ask(app, headers=[HOST, HOST]).status == 400
    assert inner.seen == []


def test_a_forwarded_host_makes_no_name_ours(app: Any, inner: Inner) -> None:
    assert ask(app, headers=[("host", "evil.example"), ("x-forwarded-host", "localhost")]).status == 421
    assert inner.seen == []


def test_only_health_is_told_without_a_name(app: Any, inner: Inner) -> None:
    assert ask(app, target="/healthz").status == 200
    assert ask(app, target="/healthz/").status == 400
    assert ask(app, target="/healthz/../jobs").status == 400
    assert ask(app, target="//healthz").status == 400
    assert ask(app, target="/admin/healthz", root_path="/admin").status == 200
    assert [path for _, path, _ in inner.seen] == ["/healthz", "/admin/healthz"]


# --- other sites
@pytest.mark.parametrize(
    "headers",
    [
        [("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "same-site")],  # another name of the same domain is another site
        [("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8000")],
        [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        [("sec-fetch-site", "")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")],
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("origin", "")],
        [("origin", "http://127.0.0.1:8001")],
        [("origin", "http://127.0.0.1:8000.evil.example")],
        [("origin", "http://127.0.0.1:8000@evil.example")],
        [("origin", "http://127.0.0.1:8000/")],
        [("origin", "file://127.0.0.1:8000")],
        [("origin", "http://[")],
        [("origin", "http://127.0.0.1:8000"), ("origin", "https://evil.example")],
        [("referer", "http://127.0.0.1:8000/")],  # says nothing that may be trusted
        [],
    ],
)
def test_a_post_from_elsewhere_changes_nothing(app: Any, inner: Inner, headers: list[tuple[str, str]]) -> None:
    assert post(app, *headers).status == 403
    assert inner.seen == []


@pytest.mark.parametrize(
    "header",
    [SAME_SITE, ("sec-fetch-site", "none"), ("origin", "http://127.0.0.1:8000"), ("origin", "https://127.0.0.1:8000")],
)
def test_a_post_from_our_own_page_is_served(app: Any, inner: Inner, header: tuple[str, str]) -> None:
    assert post(app, header).status == 200
    assert inner.seen == [("POST", "/x", b"a=1")]


def test_a_link_in_a_chat_opens_but_no_other_site_embeds_or_reads(app: Any, inner: Inner) -> None:
    link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")]
    assert ask(app, headers=[HOST, *link]).status == 200
    for mode, dest in (("no-cors", "script"), ("cors", "empty"), ("navigate", "iframe"), ("no-cors", "image")):
        headers = [HOST, link[0], ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)]
        assert ask(app, headers=headers).status == 403
    assert len(inner.seen) == 1


# --- forms, paths, methods
def test_a_form_that_is_too_large_is_refused_however_it_is_sent(app: Any, inner: Inner) -> None:
    said = post(app, SAME_SITE, ("content-length", str(MAX_FORM + 1)), pieces=())
    assert said.status == 413, "before its body is read"
    assert post(app, SAME_SITE, pieces=(b"x" * MAX_FORM, b"x")).status == 413
    assert post(app, SAME_SITE, ("content-length", "3"), pieces=(b"x" * (MAX_FORM + 1),)).status == 413
    assert post(app, SAME_SITE, ("content-length", "9" * 5000), pieces=()).status == 413
    assert post(app, SAME_SITE, pieces=(b"a&" * MAX_FIELDS,)).status == 413
    assert inner.seen == []
    assert post(app, SAME_SITE, pieces=(b"x" * MAX_FORM,)).status == 200


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "", "\xb2"])
def test_a_length_that_is_no_number_is_refused(app: Any, length: str) -> None:
    assert post(app, SAME_SITE, ("content-length", length)).status == 400


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "application/json", "text/plain"])
def test_a_body_that_is_no_plain_form_is_refused(app: Any, inner: Inner, kind: str) -> None:
    assert ask(app, "POST", "/x", [HOST, SAME_SITE, ("content-type", kind)], pieces=(b"{}",)).status == 415
    assert inner.seen == []


def test_a_length_told_in_two_ways_is_refused(app: Any, inner: Inner) -> None:
    assert post(app, SAME_SITE, ("content-length", "5"), ("transfer-encoding", "chunked")).status == 400
    assert inner.seen == []


def test_nobody_who_is_refused_makes_us_wait_for_a_body(app: Any, inner: Inner) -> None:
    assert post(app, ("sec-fetch-site", "cross-site"), pieces=()).status == 403
    viewer = guarded(inner, Settings(), access_of(Settings()))
    assert post(viewer, SAME_SITE, pieces=()).status == 403
    assert inner.seen == []


def test_a_form_that_never_ends_is_given_up(inner: Inner) -> None:
    app = FormGuard(inner, seconds=0.05)
    assert post(app, SAME_SITE, pieces=()).status == 408
    assert inner.seen == []


@pytest.mark.parametrize(
    "target",
    [
        "/static/../settings.py",
        "/static/%2e%2e/settings.py",
        "/static/..%2f..%2fetc/passwd",
        "/static/%5c..%5csettings.py",
        "/jobs/%00",
        "/jobs/a%0d%0aSet-Cookie:%20x",
        "/..",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(app: Any, inner: Inner, target: str) -> None:
    assert ask(app, target=target, headers=[HOST]).status == 400
    assert inner.seen == []


def test_a_path_or_query_without_end_is_refused(app: Any, inner: Inner) -> None:
    assert ask(app, target="/" + "a" * 5000, headers=[HOST]).status == 414
    assert ask(app, target="/?" + "a" * 9000, headers=[HOST]).status == 414
    assert inner.seen == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT", "get", "FOO"])
def test_other_methods_are_refused(app: Any, inner: Inner, method: str) -> None:
    answer = ask(app, method, "/x", [HOST, SAME_SITE])
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert inner.seen == []


# --- headers of every answer
@pytest.mark.parametrize("headers", [[HOST], [("host", "evil.example")], [HOST, ("sec-fetch-site", "cross-site")]])
def test_every_answer_carries_the_policy_whatever_the_app_says(app: Any, headers: list[tuple[str, str]]) -> None:
    answer = ask(app, headers=headers)
    for name, value in ALWAYS:
        assert answer.headers[name] == value
    assert answer.headers["cache-control"] == "no-store"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "X-Frame-Options" not in answer.headers


def test_a_stylesheet_may_be_kept_but_is_asked_for_again(app: Any) -> None:
    assert ask(app, target="/static/app.css", headers=[HOST]).headers["cache-control"] == "no-cache"


def test_a_refusal_never_quotes_the_request(app: Any) -> None:
    for headers in ([("host", "<script>evil</script>")], [HOST, ("sec-fetch-site", "<script>evil")]):
        answer = ask(app, target="/<script>evil", headers=headers)
        assert answer.status >= 400
        assert "evil" not in answer.text
        assert answer.headers["content-type"].startswith("text/plain")


# --- this machine only
@pytest.mark.parametrize(
    "client", [("10.0.0.7", 1), ("2001:db8::1", 1), ("testclient", 1), ("127.0.0.1.evil.example", 1)]
)
def test_without_sign_in_nobody_else_is_served(app: Any, inner: Inner, client: tuple[str, int]) -> None:
    assert ask(app, headers=[HOST], client=client).status == 403
    assert inner.seen == []


@pytest.mark.parametrize(
    "header",
    [
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-server", "X-Forwarded-Anything"),
        *("forwarded", "x-real-ip", "via", "Via"),
    ],
)
def test_without_sign_in_a_proxy_is_told_to_set_one_up(app: Any, inner: Inner, header: str) -> None:
    answer = ask(app, headers=[HOST, (header, "127.0.0.1")])
    assert answer.status == 403
    assert "JOBCLAIM_DASHBOARD_USERS" in answer.text
    assert inner.seen == []


@pytest.mark.parametrize("version", ["1.0", "0.9"])
def test_without_sign_in_a_proxy_that_gives_itself_away_by_old_http_only_is_refused(
    app: Any, inner: Inner, version: str
) -> None:
    passed_on = [HOST, ("connection", "close")]  # all that a bare `proxy_pass` adds
    assert ask(app, headers=passed_on, http_version=version).status == 403
    act = ask(app, "POST", "/act", [*passed_on, FORM_TYPE, SAME_SITE], http_version=version)
    assert act.status == 403
    assert inner.seen == []
    assert ask(app, target="/healthz", http_version=version).status == 200, "load balancers ask by HTTP/1.0"
    assert ask(app, headers=[HOST], http_version="2").status == 200


def test_where_people_sign_in_proxies_are_welcome(inner: Inner) -> None:
    signed_in = guarded(inner, Settings(), lambda scope: Person("ann", Role.VIEWER))
    assert ask(signed_in, headers=[HOST, ("via", "1.1 proxy")], http_version="1.0").status == 200


def test_by_default_people_of_this_machine_look_and_do_not_act(inner: Inner) -> None:
    app = guarded(inner, Settings(), access_of(Settings(), user="ann"))
    assert ask(app, headers=[HOST]).status == 200
    assert inner.people == [Person("ann", Role.VIEWER)]
    refused = post(app, SAME_SITE)
    assert refused.status == 403
    assert "--operator" in refused.text
    assert len(inner.seen) == 1


def test_who_is_operator_acts_under_the_own_name(app: Any, inner: Inner) -> None:
    post(app, SAME_SITE)
    assert inner.people == [Person("ann", Role.OPERATOR)]


def test_a_websocket_is_closed(app: Any) -> None:
    import asyncio

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


# --- where it may listen
USERS = {"ann": {"password": "scrypt$32768$8$3$" + "a" * 22 + "$" + "b" * 43}}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LocalHost"])
def test_it_listens_on_loopback_without_sign_in(host: str) -> None:
    check_bind(host, Settings(), operator=True)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.1", "myhost", "localhost.evil.example"])  # noqa: S104
def test_it_listens_nowhere_else_without_sign_in(host: str) -> None:
    with pytest.raises(RefusedToServe, match="JOBCLAIM_DASHBOARD_USERS or JOBCLAIM_DASHBOARD_ALB first"):
        check_bind(host, Settings())


def test_with_sign_in_it_must_know_its_name_and_takes_no_operator_flag() -> None:
    signs_in: Any = {"dashboard_users": USERS}
    with pytest.raises(RefusedToServe, match="JOBCLAIM_DASHBOARD_HOSTS"):
        check_bind("0.0.0.0", Settings(**signs_in))  # noqa: S104
    check_bind("0.0.0.0", Settings(**signs_in, dashboard_hosts=("jobs.example.com",)))  # noqa: S104
    with pytest.raises(RefusedToServe, match="--operator"):
        check_bind("127.0.0.1", Settings(**signs_in), operator=True)
