"""`jobclaim dashboard` as a process: where it listens, who is let in, and requests that no client library sends."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.processes import ManagedProcess
from tests.support.warm import WarmProcess

CLI = [sys.executable, "-m", "jobclaim", "dashboard"]
NOWHERE = {"JOBCLAIM_ENDPOINT_URL": "http://127.0.0.1:9"}
PASSWORD = "correct horse battery"

Start = Callable[..., ManagedProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a dashboard on a free port, in a folder of its own."""
    with ExitStack() as exits:

        def run(*options: str, kind: type[ManagedProcess] = WarmProcess, **env: str) -> ManagedProcess:
            argv = [*CLI, "--port", "0", *options]
            process = kind("dashboard", argv, log_dir=tmp_path, env=os.environ | NOWHERE | env, cwd=tmp_path)
            exits.enter_context(process)
            process.wait_for_line("The dashboard is at", 60)
            return process

        yield run


def port_of(process: ManagedProcess) -> int:
    return int(re.findall(r"http://\S+:(\d+)/", process.log())[0])


def raw(process: ManagedProcess, request: bytes) -> str:
    """Send bytes as they are, and read the answer until the server closes, or falls silent after it has begun."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port_of(process)), timeout=30) as line:
        line.sendall(request)
        try:
            while piece := line.recv(65_536):
                answer += piece
                line.settimeout(30 if b"Connection: close" in request else 3)
        except (TimeoutError, ConnectionResetError):
            pass
    return answer.decode("latin-1")


def get(process: ManagedProcess, target: str, *headers: str) -> str:
    lines = [f"GET {target} HTTP/1.1", f"Host: 127.0.0.1:{port_of(process)}", "Connection: close", *headers]
    return raw(process, "\r\n".join([*lines, "", ""]).encode())


def status(answer: str) -> int:
    return int(answer.split(" ", 2)[1])


def test_it_serves_on_loopback_and_ends_when_it_is_asked_to(start: Start) -> None:
    process = start(kind=ManagedProcess)
    assert get(process, "/healthz").endswith("\r\n\r\nok\n")
    assert status(get(process, "/static/app.css")) == 200
    page = get(process, "/jobs")
    assert status(page) == 503
    assert "AWS is unavailable" in page
    assert "server: uvicorn" not in page.lower()
    process.send(signal.SIGTERM)
    assert process.wait_for_exit(30) == 0
    assert "The dashboard has stopped." in process.log()


@pytest.mark.parametrize(
    "target",
    [
        "/../settings.py",
        "/static/../app.py",
        "/static/..%2f..%2fsettings.py",
        "/static/%2e%2e/app.py",
        "/static/....//app.py",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/%00",
        "/static/app.css%00.html",
        "/static/..%5capp.py",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//evil.example/%2e%2e",
        "/static",
        "/static/",
        "/templates/base.html",
    ],
)
def test_no_path_leads_out_of_the_static_files(one: ManagedProcess, target: str) -> None:
    answer = get(one, target)
    assert status(answer) in (307, 400, 404), answer
    assert "root:" not in answer
    assert "import" not in answer.partition("<!doctype")[0]
    assert "evil.example" not in "".join(re.findall(r"(?im)^location:.*$", answer))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedProcess]:
    """One dashboard for requests that must not hurt it."""
    folder = tmp_path_factory.mktemp("dashboard")
    argv = [*CLI, "--port", "0", "--operator"]
    with WarmProcess("dashboard", argv, log_dir=folder, env=os.environ | NOWHERE, cwd=folder) as process:
        process.wait_for_line("The dashboard is at", 60)
        yield process
        assert status(get(process, "/healthz")) == 200, "it still serves"


@pytest.mark.parametrize(
    "request_lines",
    [
        ["GET http://evil.example/jobs HTTP/1.1", "Host: evil.example"],
        ["GET /jobs HTTP/1.1", "Host: evil.example"],
        ["GET /jobs HTTP/1.1", "Host: localhost", "Host: evil.example"],
        ["GET /jobs HTTP/1.0"],
        ["GET /jobs HTTP/1.0", "Host: 127.0.0.1:8484"],  # as a reverse proxy asks that names nobody
        ["GET /jobs HTTP/1.1"],
        ["POST /act HTTP/1.1", "Host: localhost", "Content-Length: 5", "Content-Length: 50"],
        ["POST /act HTTP/1.1", "Host: localhost", "Content-Length: 5", "Transfer-Encoding: chunked"],
        ["POST /act HTTP/1.1", "Host: localhost", "Content-Length: -5"],
        ["POST /act HTTP/1.1", "Host: localhost", "Origin: http://evil.example", "Content-Length: 0"],
        ["POST /act HTTP/1.1", "Host: localhost", "Content-Length: 999999999", "Sec-Fetch-Site: same-origin"],
        ["GET /jobs HTTP/1.1", "Host: localhost", "X: " + "y" * 200_000],
        ["GET /" + "a" * 200_000 + " HTTP/1.1", "Host: localhost"],
        ["CONNECT evil.example:443 HTTP/1.1", "Host: evil.example"],
        ["TRACE / HTTP/1.1", "Host: localhost"],
        ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ],
    ids=lambda lines: " ".join(lines)[:60],
)
def test_a_request_that_no_browser_of_ours_sends_is_refused(one: ManagedProcess, request_lines: list[str]) -> None:
    answer = raw(one, "\r\n".join([*request_lines, "Connection: close", "", ""]).encode("latin-1"))
    # what is too long for the server to read to its end may be cut off before the answer is read
    assert not answer or status(answer) in (400, 403, 405, 413, 414, 421, 431), answer[:300]
    assert answer or max(map(len, request_lines)) > 100_000
    assert "jobclaim</title>" not in answer


def test_a_hidden_second_request_is_not_served(one: ManagedProcess) -> None:
    """A form that is refused may be followed by what would be taken for a request of its own."""
    smuggled = b"POST /act HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\nContent-Length: 0\r\n\r\n"
    lines = ["POST /act HTTP/1.1", "Host: localhost", "Origin: http://evil.example", f"Content-Length: {len(smuggled)}"]
    answer = raw(one, "\r\n".join([*lines, "", ""]).encode() + smuggled)
    assert re.findall(r"^HTTP/1\.1 (\d+)", answer, re.MULTILINE) == ["403"]


def test_people_sign_in_with_the_hash_that_the_command_line_makes(start: Start) -> None:
    done = warm.run([*CLI, "hash-password"], answer=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    users = {"ann": {"password": done.stdout.strip(), "operator": True}}
    process = start(JOBCLAIM_DASHBOARD_USERS=json.dumps(users))
    assert PASSWORD not in process.log()
    refused = get(process, "/jobs")
    assert status(refused) == 401
    assert 'www-authenticate: Basic realm="jobclaim"' in refused

    def signed(password: str) -> int:
        credentials = base64.b64encode(f"ann:{password}".encode()).decode()
        return status(get(process, "/jobs", f"Authorization: Basic {credentials}"))

    assert [signed("wrong horse battery"), signed(PASSWORD)] == [401, 503], "503: there is no DynamoDB here"
    assert status(get(process, "/healthz")) == 200
    assert '"rule": "password"' in process.log()
    assert "Authorization" not in process.log()


@pytest.mark.parametrize(
    ("options", "env", "says"),
    [
        (["--host", "0.0.0.0"], {}, "JOBCLAIM_DASHBOARD_USERS or JOBCLAIM_DASHBOARD_ALB first"),  # noqa: S104
        (["--host", "::"], {}, "would show every job"),
        (["--host", "nowhere.invalid"], {}, "would show every job"),
        (["--port", "TAKEN"], {}, "choose another --port"),
        ([], {"JOBCLAIM_DASHBOARD_USERS": '{"ann": {"password": "plain"}}'}, "hash-password"),
        ([], {"JOBCLAIM_DASHBOARD_HOSTS": "https://x/"}, "without scheme and port"),
    ],
)
def test_what_would_be_unsafe_or_cannot_be_is_refused_at_the_start(
    options: list[str], env: dict[str, str], says: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [str(taken.getsockname()[1]) if word == "TAKEN" else word for word in options]
        done = warm.run([*CLI, *given], env=os.environ | NOWHERE | env, cwd=tmp_path)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "plain" not in done.stderr


def test_a_short_password_is_refused() -> None:
    done = warm.run([*CLI, "hash-password"], answer="short\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert "at least 12" in done.stderr
