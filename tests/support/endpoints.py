"""DynamoDB Local and ElasticMQ as context managers: real protocol servers, ended when their block ends."""

from __future__ import annotations

import shutil
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support import artifacts
from tests.support.processes import ManagedProcess, ProcessDied
from tests.support.waiting import wait_until

LOOPBACK = "127.0.0.1"
READY_SECONDS = 45.0
STARTS = 3
JAVA_OPTIONS = ["-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]

ELASTICMQ_CONF = """\
include classpath("application.conf")
node-address {{ protocol = http, host = "{host}", port = {port}, context-path = "" }}
rest-sqs {{ enabled = true, bind-hostname = "{host}", bind-port = {port}, sqs-limits = strict }}
rest-stats {{ enabled = false }}
aws {{ region = "us-east-1", accountId = "000000000000" }}
pekko.scheduler.tick-duration = 100ms
"""
"""Its clock ticks ten times a second instead of a hundred times, so that it costs half as much while it waits."""


@dataclass(frozen=True)
class Endpoint:
    """A running server: where it listens and what to sign requests with.

    Attributes
    ----------
    endpoint_url : str
        For boto3 and for ``JOBCLAIM_DYNAMODB_ENDPOINT_URL`` or ``JOBCLAIM_SQS_ENDPOINT_URL``.
    region, access_key, secret_key : str
        Any would do; DynamoDB Local wants an alphanumeric access key.
    """

    service: str
    endpoint_url: str
    region: str = "us-east-1"
    access_key: str = "jobclaimtest"
    secret_key: str = "jobclaimtest"

    def client(self, **config: Any) -> Any:
        """Build a boto3 client for this server, never for AWS; `config` goes to `botocore.config.Config`."""
        options: dict[str, Any] = {
            "connect_timeout": 3,
            "read_timeout": 30,
            "retries": {"total_max_attempts": 1},
        }
        session: Any = boto3.session.Session()  # typed per service; here the name is a value
        return session.client(
            self.service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(**(options | config)),
        )


@dataclass(frozen=True)
class Server(Endpoint):
    """An endpoint whose process is ours."""

    process: ManagedProcess = field(kw_only=True)


def unique_name(prefix: str) -> str:
    """Name a table or a queue of one test alone: the servers are shared by the whole run."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def free_port() -> int:
    """Find a TCP port on loopback that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def dynamodb_local(log_dir: Path, java_options: Sequence[str] = JAVA_OPTIONS) -> Iterator[Server]:
    """Run AWS's DynamoDB Local, in memory, until the block ends.

    It listens on every interface and has no option against that; it holds test data only.

    Parameters
    ----------
    java_options : sequence of str
        Default: for a quick start and little memory.

    Raises
    ------
    tests.support.artifacts.Unavailable
        Java is missing or the server could not be fetched.
    """
    java, home = artifacts.java(), artifacts.dynamodb_local_home()

    def command(port: int) -> list[str]:
        native = f"-Djava.library.path={home / 'DynamoDBLocal_lib'}"
        jar = ["-jar", str(home / "DynamoDBLocal.jar"), "-sharedDb", "-inMemory", "-disableTelemetry"]
        return [java, *java_options, native, *jar, "-port", str(port)]

    with _served("dynamodb", log_dir, command, lambda client: client.list_tables(Limit=1)) as endpoint:
        yield endpoint


@contextmanager
def elasticmq(log_dir: Path) -> Iterator[Server]:
    """Run ElasticMQ, an SQS-compatible server in memory and on loopback only, until the block ends.

    Queue URLs read ``http://127.0.0.1:PORT/000000000000/NAME``.

    Raises
    ------
    tests.support.artifacts.Unavailable
        Java is missing or the server could not be fetched.
    """
    java, home = artifacts.java(), artifacts.elasticmq_home()

    def command(port: int) -> list[str]:
        conf = log_dir / f"elasticmq-{port}.conf"
        conf.write_text(ELASTICMQ_CONF.format(host=LOOPBACK, port=port))
        main = ["-cp", f"{home}/*", "org.elasticmq.server.Main"]
        return [java, *JAVA_OPTIONS, f"-Dconfig.file={conf}", *main]

    with _served("sqs", log_dir, command, lambda client: client.list_queues()) as endpoint:
        yield endpoint


@contextmanager
def _served(
    service: str, log_dir: Path, command: Callable[[int], list[str]], ping: Callable[[Any], object]
) -> Iterator[Server]:
    endpoint = _start(service, log_dir, command, ping)
    try:
        yield endpoint
    finally:
        endpoint.process.stop()


def _start(service: str, log_dir: Path, command: Callable[[int], list[str]], ping: Callable[[Any], object]) -> Server:
    """Start on a free port, again on another one when somebody else took it in between."""
    for attempt in range(1, STARTS + 1):
        port = free_port()
        process = ManagedProcess(f"{service}-{port}", _bound_to_us(command(port)), log_dir=log_dir).start()
        endpoint = Server(service, f"http://{LOOPBACK}:{port}", process=process)
        try:
            _wait_until_ready(endpoint, ping)
        except ProcessDied:
            process.stop()
            if attempt == STARTS:
                raise
        except BaseException:
            process.stop()
            raise
        else:
            return endpoint
    raise AssertionError("unreachable: the last attempt returned or raised")


def _wait_until_ready(endpoint: Server, ping: Callable[[Any], object]) -> None:
    client = endpoint.client(connect_timeout=1, read_timeout=5)

    def answers() -> bool:
        if not endpoint.process.running:
            raise ProcessDied(endpoint.process.describe())
        try:
            ping(client)
        except (BotoCoreError, ClientError):
            return False
        return True

    wait_until(answers, READY_SECONDS, lambda: f"{endpoint.service} answers\n{endpoint.process.describe()}")


def _bound_to_us(argv: list[str]) -> list[str]:
    """Let the kernel end the server when the test run itself is killed and can end nothing any more."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *argv] if setpriv else argv
