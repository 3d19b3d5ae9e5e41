"""Exceptions as their libraries really raise them, each with the kind that it should be told as."""

from __future__ import annotations

import asyncio
import concurrent.futures
import configparser
import http.client
import importlib
import json
import os
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import closing
from typing import Any

import billiard.exceptions
import boto3
import celery.exceptions
import httpx
import jsonschema
import kombu.exceptions
import pydantic
import redis
import requests
import sqlalchemy as sa
import urllib3
from botocore.config import Config
from botocore.stub import Stubber
from celery import Celery
from moto import mock_aws
from sqlalchemy.orm import Session

from jobclaim.jobs import FailureKind

T, E = FailureKind.TRANSIENT, FailureKind.EXTERNAL
C, P = FailureKind.CONFIGURATION, FailureKind.PERMANENT
TIMEOUT, ORPHANED = FailureKind.TIMEOUT, FailureKind.ORPHANED
LOCAL = "127.0.0.1"


def free_port() -> int:
    """A port on which nobody listens."""
    with closing(socket.create_server((LOCAL, 0))) as server:
        return int(server.getsockname()[1])


def nobody() -> str:
    """URL of a service that is down."""
    return f"http://{LOCAL}:{free_port()}/"


def answering(status: int, body: bytes = b"x") -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(status, content=body)))


def requests_answer(status: int) -> None:
    answer = requests.Response()
    answer.status_code, answer.url = status, "http://service/"
    answer.raise_for_status()


def aws(code: str, status: int, service: str = "s3", operation: str = "list_buckets") -> None:
    """Have botocore itself make the error of an answer."""
    client = aws_client(service)
    with Stubber(client) as stub:
        stub.add_client_error(operation, code, "no", status)
        getattr(client, operation)()


def aws_client(service: str, **options: Any) -> Any:
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=0.2, read_timeout=0.2)
    make: Any = boto3.client
    return make(service, region_name="us-east-1", config=config, **options)


def deaf(call: Callable[[int], Any]) -> None:
    """Call a service that takes connections and never answers."""
    with closing(socket.create_server((LOCAL, 0))) as server:
        call(server.getsockname()[1])


def dropping(call: Callable[[int], Any]) -> None:
    """Call a service that hangs up without an answer."""
    import threading

    with closing(socket.create_server((LOCAL, 0))) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        try:
            call(server.getsockname()[1])
        finally:
            thread.join(5)


def sql(*statements: str) -> None:
    with sa.create_engine("sqlite://").connect() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def locked_database(use_sqlalchemy: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/x.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as one:
            one.execute("create table t (x)")
            one.execute("begin exclusive")
            if use_sqlalchemy:
                engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
                with engine.connect() as connection:
                    connection.execute(sa.text("insert into t values (1)"))
            with closing(sqlite3.connect(path, timeout=0)) as other:
                other.execute("insert into t values (1)")


def pool_is_used_up() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), engine.connect():
        pass


def validate() -> None:
    class Order(pydantic.BaseModel):
        amount: int

    Order(amount="many")


def tls_to_plain_http() -> None:
    with closing(socket.create_server((LOCAL, 0))) as server:
        import threading

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 no\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        try:
            with socket.create_connection((LOCAL, server.getsockname()[1]), 2) as plain:
                ssl.create_default_context().wrap_socket(plain, server_hostname="x")
        finally:
            thread.join(5)


def deep_recursion() -> None:
    def fall() -> None:
        fall()

    fall()


def wrapped_on_purpose() -> None:
    try:
        requests.get(nobody(), timeout=1)
    except requests.RequestException as error:
        raise RuntimeError("could not load the rates") from error


def wrapped_by_accident() -> None:
    try:
        socket.create_connection((LOCAL, free_port()), 1)
    except OSError:
        raise ValueError("no rates")  # noqa: B904 - that is the case


def lookup_before_the_call() -> None:
    try:
        dict[str, int]()["rates"]
    except KeyError:
        httpx.get(nobody(), timeout=1)


def several_at_once() -> None:
    raise ExceptionGroup("two", [ConnectionResetError(), TimeoutError()])


def in_a_pool() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: socket.create_connection((LOCAL, free_port()), 1)).result()


def no_region() -> None:
    import botocore.session

    session: Any = botocore.session.Session(session_vars={"region": ("region", None, None, None)})
    session.create_client("sqs", aws_access_key_id="x", aws_secret_access_key="x")


def no_bucket() -> None:
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").get_object(Bucket="nobodys", Key="x")


def no_key() -> None:
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="mine")
        s3.get_object(Bucket="mine", Key="x")


def no_table() -> None:
    with mock_aws():
        boto3.client("dynamodb", region_name="us-east-1").get_item(TableName="none", Key={"k": {"S": "x"}})


def condition() -> None:
    with mock_aws():
        from jobclaim.infra.tables import ensure_table, table_specs
        from jobclaim.settings import Settings

        client = boto3.client("dynamodb", region_name="us-east-1")
        list(ensure_table(client, table_specs(Settings())[0], 5))
        key = {"job_id": {"S": "x"}}
        client.put_item(TableName="jobclaim-jobs", Item=key, ConditionExpression="attribute_exists(job_id)")


def call_unknown_task() -> None:
    Celery("x", set_as_current=False).tasks["nobody.knows"]


def smtp(answer: bytes) -> None:
    import threading

    with closing(socket.create_server((LOCAL, 0))) as server:

        def greet() -> None:
            connection, _ = server.accept()
            connection.sendall(answer)
            connection.close()

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        try:
            smtplib.SMTP(LOCAL, server.getsockname()[1], timeout=2)
        finally:
            thread.join(5)


def throw(error: BaseException) -> None:
    """For those that only a main process, a signal or a foreign server makes."""
    raise error


CASES: list[tuple[str, FailureKind, Callable[[], Any]]] = [
    # sockets and files
    ("connection refused", T, lambda: socket.create_connection((LOCAL, free_port()), 1)),
    ("socket timeout", T, lambda: deaf(lambda port: socket.create_connection((LOCAL, port), 0.1).recv(1))),
    ("broken pipe", T, lambda: os.write(_broken_pipe(), b"x")),
    ("name unknown", C, lambda: socket.getaddrinfo("no such host.invalid", 80, flags=socket.AI_NUMERICHOST)),
    ("name server away", T, lambda: throw(socket.gaierror(socket.EAI_AGAIN, "try again"))),
    ("asyncio timeout", T, lambda: asyncio.run(asyncio.wait_for(asyncio.sleep(1), 0.001))),
    ("future timeout", T, lambda: concurrent.futures.Future[None]().result(0.001)),
    ("in a pool", T, in_a_pool),
    ("no such file", P, lambda: open("/nobody/has/this")),  # noqa: PTH123, SIM115
    ("not writable", C, lambda: throw(PermissionError(13, "denied"))),
    ("disk full", T, lambda: open("/dev/full", "w").write("x" * 100_000)),  # noqa: PTH123, SIM115
    ("no TLS spoken", T, tls_to_plain_http),
    ("bad certificate", C, lambda: throw(ssl.SSLCertVerificationError("self-signed"))),
    # the standard library's own HTTP and SMTP
    ("urllib down", E, lambda: urllib.request.urlopen(nobody(), timeout=1)),
    ("urllib 503", E, lambda: throw(urllib.request.HTTPError("http://x", 503, "no", http.client.HTTPMessage(), None))),
    ("urllib 404", P, lambda: throw(urllib.request.HTTPError("http://x", 404, "no", http.client.HTTPMessage(), None))),
    ("http hung up", E, lambda: dropping(_answer)),
    ("smtp busy", E, lambda: smtp(b"421 too busy\r\n")),
    ("smtp refuses", P, lambda: smtp(b"554 no mail from you\r\n")),
    ("smtp hung up", E, lambda: smtp(b"")),
    ("smtp login", C, lambda: throw(smtplib.SMTPAuthenticationError(535, b"no"))),
    # requests
    ("requests down", E, lambda: requests.get(nobody(), timeout=1)),
    ("requests read timeout", E, lambda: deaf(lambda port: requests.get(f"http://{LOCAL}:{port}", timeout=0.1))),
    ("requests hung up", E, lambda: dropping(lambda port: requests.get(f"http://{LOCAL}:{port}", timeout=2))),
    ("requests no scheme", P, lambda: requests.get("service/path", timeout=1)),
    ("requests bad URL", P, lambda: requests.get("http://", timeout=1)),
    *(
        (f"requests {status}", kind, lambda status=status: requests_answer(status))
        for status, kind in (
            (400, P),
            (401, C),
            (403, C),
            (404, P),
            (408, T),
            (429, T),
            (500, E),
            (502, E),
            (503, E),
        )
    ),
    # urllib3
    ("urllib3 down", E, lambda: urllib3.PoolManager(retries=False).request("GET", nobody())),
    ("urllib3 retries", E, lambda: urllib3.PoolManager().request("GET", nobody(), retries=urllib3.Retry(0))),
    ("urllib3 bad URL", P, lambda: urllib3.PoolManager().request("GET", "http://[bad")),
    # httpx
    ("httpx down", E, lambda: httpx.get(nobody(), timeout=1)),
    ("httpx timeout", E, lambda: deaf(lambda port: httpx.get(f"http://{LOCAL}:{port}", timeout=0.1))),
    ("httpx hung up", E, lambda: dropping(lambda port: httpx.get(f"http://{LOCAL}:{port}", timeout=2))),
    ("httpx bad URL", P, lambda: httpx.get("http://x:port")),
    ("httpx unsupported", P, lambda: httpx.get("gopher://x")),
    ("httpx 429", T, lambda: answering(429).get("http://x").raise_for_status()),
    ("httpx 404", P, lambda: answering(404).get("http://x").raise_for_status()),
    ("httpx 500", E, lambda: answering(500).get("http://x").raise_for_status()),
    # AWS
    ("aws throttled", T, lambda: aws("ThrottlingException", 400)),
    ("s3 slow down", T, lambda: aws("SlowDown", 503)),
    ("aws 500", T, lambda: aws("InternalError", 500)),
    ("aws denied", C, lambda: aws("AccessDenied", 403)),
    ("aws expired", C, lambda: aws("ExpiredToken", 400)),
    ("aws invalid", P, lambda: aws("ValidationException", 400, "dynamodb", "list_tables")),
    ("s3 no bucket", C, no_bucket),
    ("s3 no key", P, no_key),
    ("dynamodb no table", C, no_table),
    ("dynamodb condition", P, condition),
    (
        "aws down",
        T,
        lambda: aws_client(
            "s3", endpoint_url=nobody(), aws_access_key_id="x", aws_secret_access_key="x"
        ).list_buckets(),
    ),
    ("aws deaf", T, lambda: deaf(lambda port: aws_client("s3", endpoint_url=f"http://{LOCAL}:{port}").list_buckets())),
    ("aws no region", C, no_region),
    ("aws no profile", C, lambda: boto3.session.Session(profile_name="nobody")),
    ("aws parameters", P, lambda: aws_client("s3").get_object(Bucket="x")),
    # databases
    ("sqlite locked", T, lambda: locked_database(False)),
    ("sqlite no table", C, lambda: sqlite3.connect(":memory:").execute("select * from orders")),
    (
        "sqlite constraint",
        P,
        lambda: sqlite3.connect(":memory:").executescript("create table t (x unique); insert into t values (1), (1)"),
    ),
    ("sqlalchemy locked", T, lambda: locked_database(True)),
    ("sqlalchemy no table", C, lambda: sql("select * from orders")),
    ("sqlalchemy constraint", P, lambda: sql("create table t (x unique)", "insert into t values (1), (1)")),
    ("sqlalchemy pool", T, pool_is_used_up),
    ("sqlalchemy no dialect", C, lambda: sa.create_engine("nobase://x")),
    ("sqlalchemy bad URL", C, lambda: sa.create_engine("not a url")),
    ("sqlalchemy no row", P, lambda: Session(sa.create_engine("sqlite://")).execute(sa.text("select 1 where 0")).one()),
    (
        "redis down",
        T,
        lambda: redis.Redis(
            LOCAL, free_port(), socket_timeout=1, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        ).ping(),
    ),
    # validation, imports, code
    ("pydantic", P, validate),
    ("jsonschema", P, lambda: jsonschema.validate({"a": 1}, {"required": ["b"]})),
    ("json", P, lambda: json.loads("{")),
    ("unicode", P, b"\xff".decode),
    ("number", P, lambda: int("seven")),
    ("key", P, lambda: dict[str, int]()["x"]),
    ("no module", C, lambda: importlib.import_module("nobody_wrote_this")),
    ("no name in a module", C, lambda: sys.no_such_name),  # type: ignore[attr-defined]
    ("no attribute", P, lambda: None.strip()),  # type: ignore[attr-defined]  # noqa: PLW0108
    ("type", P, lambda: len(5)),  # type: ignore[arg-type]
    ("zero", P, lambda: 1 / 0),
    ("recursion", P, deep_recursion),
    ("no section", C, lambda: configparser.ConfigParser().get("a", "b")),
    ("program failed", P, lambda: subprocess.run([sys.executable, "-c", "raise SystemExit(3)"], check=True)),
    ("program too slow", TIMEOUT, lambda: subprocess.run(["sleep", "5"], check=True, timeout=0.01)),
    # Celery
    ("soft limit", TIMEOUT, lambda: throw(celery.exceptions.SoftTimeLimitExceeded(10))),
    ("hard limit", TIMEOUT, lambda: throw(celery.exceptions.TimeLimitExceeded(10))),
    ("lost worker", ORPHANED, lambda: throw(billiard.exceptions.WorkerLostError("signal 9"))),
    ("unknown task", C, call_unknown_task),
    ("broker away", T, lambda: throw(kombu.exceptions.OperationalError("away"))),
    # what is behind the wrapper
    ("wrapped on purpose", E, wrapped_on_purpose),
    ("wrapped by accident", T, wrapped_by_accident),
    ("an error before the call", E, lookup_before_the_call),
    ("a group", T, several_at_once),
]


def _broken_pipe() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def _answer(port: int) -> None:
    connection = http.client.HTTPConnection(LOCAL, port)
    connection.request("GET", "/")
    connection.getresponse()
