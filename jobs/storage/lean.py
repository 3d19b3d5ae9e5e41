"""The most frequent requests without most of botocore: under half the CPU time of a claim, a third of a send.

botocore builds each request from its service model: it validates, serializes, resolves an endpoint and calls some
twenty hooks, which takes 0.9 ms. A job makes four such requests and most workers do little else, so they are built by
hand here and signed by `jobclaim.jobs.storage.signing`; credentials, endpoint and exceptions stay botocore's own.
Every other request than DynamoDB's ``put_item``, ``update_item`` and ``get_item`` and SQS's ``send_message`` goes to
the boto3 client underneath; so do these behind a proxy, with another signature than version 4, and where greenlets
share the process, because libcurl's sockets would block them.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import pycurl
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from jobclaim.jobs.clock import wait
from jobclaim.jobs.storage.cooperative import sockets_are_patched
from jobclaim.jobs.storage.inherited import leave_to_parent
from jobclaim.jobs.storage.resilience import is_transient
from jobclaim.jobs.storage.signing import CONTENT_TYPE, Signer

TARGETS: Final = {"dynamodb": "DynamoDB_20120810.", "sqs": "AmazonSQS."}
"""Parameters that each service's requests specify besides the operation."""
TRIES: Final = 2
FIRST_PAUSE_SECONDS: Final = 0.05
TOO_OFTEN: Final = ("Throttling", "ThroughputExceeded", "LimitExceeded", "TransactionInProgress")


def lean(client: Any) -> Any:
    """Return a DynamoDB or SQS client whose frequent requests cost less, or the same client if that is not possible."""
    url = client.meta.endpoint_url
    ordinary = client._request_signer.signature_version == "v4" and urlsplit(url).path in ("", "/")
    if sockets_are_patched() or get_environ_proxies(url) or not ordinary:
        return client
    return LeanClient(client) if _certificates(client) else client


class LeanClient:
    """A boto3 client whose most frequent requests are built by hand. Thread-safe; a forked child needs its own.

    Parameters
    ----------
    client
        A boto3 client of DynamoDB or SQS.
    sleep : callable
        Waits for a number of seconds before the second try.
    """

    def __init__(self, client: Any, sleep: Callable[[float], None] = wait) -> None:
        config = client.meta.config
        self._tries = TRIES
        self._longest_ms = int(1000 * config.read_timeout)
        self._client = client
        self._service: str = client.meta.service_model.service_name
        self._sleep = sleep
        self._url = client.meta.endpoint_url.rstrip("/") + "/"
        self._options = {
            pycurl.URL: self._url,
            pycurl.POST: 1,
            pycurl.CONNECTTIMEOUT_MS: int(1000 * config.connect_timeout),
            pycurl.CAINFO: _certificates(client),
            pycurl.PROXY: "",
            pycurl.NOSIGNAL: 1,
            pycurl.TCP_KEEPALIVE: 1,
        }
        self._idle: deque[Any] = deque()
        self._agent = f"User-Agent: {config.user_agent}"
        self._signer = Signer(self._url, self._service, client.meta.region_name)
        self._hooks = client.meta.events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def with_timeout(self, seconds: float) -> LeanClient:
        """Return a client with the same connections that tries once, for some seconds: for a process about to end."""
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        made._tries, made._longest_ms = 1, min(self._longest_ms, int(1000 * seconds))
        return made

    def put_item(self, **request: Any) -> Any:
        """Do the same as boto3's method."""
        return self._ask("PutItem", request)

    def update_item(self, **request: Any) -> Any:
        """Do the same as boto3's method."""
        return self._ask("UpdateItem", request)

    def get_item(self, **request: Any) -> Any:
        """Do the same as boto3's method."""
        return self._ask("GetItem", request)

    def send_message(self, **request: Any) -> Any:
        """Do the same as boto3's method; a refused request is repeated with boto3, which knows both names of errors."""
        try:
            return self._ask("SendMessage", request)
        except ClientError as error:
            if is_transient(error):
                raise
            return self._client.send_message(**request)

    def _ask(self, operation: str, request: Mapping[str, Any]) -> Any:
        """Make a request, as often as the client tries.

        Raises
        ------
        botocore.exceptions.ClientError, botocore.exceptions.HTTPClientError
            The error that boto3's client would raise.
        """
        body = json.dumps(request, separators=(",", ":")).encode()
        for tries_left in reversed(range(self._tries)):
            try:
                status, answer = self._send(operation, body)
            except pycurl.error as error:
                if not tries_left:
                    raise _as_botocore(error, self._url) from error
            else:
                if status == 200:
                    return answer
                code = str(answer.get("__type", status)).rpartition("#")[2]
                if not tries_left or not (status >= 500 or any(word in code for word in TOO_OFTEN)):
                    raise self._error(operation, status, code, answer, retries=self._tries - 1 - tries_left)
            self._sleep(random.uniform(0, FIRST_PAUSE_SECONDS))
        raise AssertionError

    def _send(self, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
        lines = [*self._signed(TARGETS[self._service] + operation, body), self._agent]
        hooked = self._hooked(operation, lines, body)
        if hooked is not None:
            return hooked.status_code, _parsed(hooked.content)
        curl = self._connection()
        try:
            curl.setopt(pycurl.HTTPHEADER, [*lines, "Expect:"])
            curl.setopt(pycurl.POSTFIELDS, body)
            curl.setopt(pycurl.TIMEOUT_MS, self._longest_ms)  # its last user may have set a shorter one
            answer = curl.perform_rb()
            return curl.getinfo(pycurl.RESPONSE_CODE), _parsed(answer)
        finally:
            self._idle.append(curl)  # it stays open for the next request of any thread

    def _signed(self, target: str, body: bytes) -> list[str]:
        credentials = self._client._request_signer._credentials
        if credentials is None:
            return [f"X-Amz-Target: {target}", f"Content-Type: {CONTENT_TYPE}"]
        return self._signer.headers(credentials.get_frozen_credentials(), target, body)

    def _connection(self) -> Any:
        """Return a connection that is not in use, the most recently used one: others may end unused."""
        try:
            return self._idle.pop()
        except IndexError:
            curl = leave_to_parent(pycurl.Curl())
            for option, value in self._options.items():
                curl.setopt(option, value)
            return curl

    def _hooked(self, operation: str, lines: list[str], body: bytes) -> Any:
        """Let a hook answer instead of AWS, where there is one: moto's in-process mock."""
        name = f"before-send.{self._service}.{operation}"
        if not self._hooks._emitter._handlers.prefix_search(name):
            return None
        headers = dict(line.split(": ", 1) for line in lines)
        return self._hooks.emit_until_response(name, request=AWSRequest("POST", self._url, headers, body).prepare())[1]

    def _error(self, operation: str, status: int, code: str, answer: Mapping[str, Any], *, retries: int) -> Exception:
        message = answer.get("message") or answer.get("Message") or ""
        response = {
            **answer,
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": retries},
        }
        made: Exception = self._client.exceptions.from_code(code)(response, operation)
        return made


def _certificates(client: Any) -> str | None:
    """Return the path of the certificate authorities that the client trusts; ``None`` if it does not verify."""
    found: str | None = get_cert_path(client._endpoint.http_session._verify)
    return found


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body or b"{}")
    except ValueError:  # a load balancer's page instead of an answer
        return {}
    return answer if isinstance(answer, dict) else {}


def _as_botocore(error: Exception, url: str) -> Exception:
    kinds = {
        pycurl.E_OPERATION_TIMEDOUT: ReadTimeoutError,
        pycurl.E_COULDNT_CONNECT: EndpointConnectionError,
        pycurl.E_COULDNT_RESOLVE_HOST: EndpointConnectionError,
    }
    made: Exception = kinds.get(error.args[0], ConnectionClosedError)(endpoint_url=url, error=error)
    return made
