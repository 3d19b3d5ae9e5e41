"""The most frequent requests without most of botocore: under half the CPU time of a claim, a third of a send.

botocore builds each request from its service model: it validates, serializes, resolves an endpoint and calls some
twenty hooks, which takes 0.9 ms. A job makes four such requests and most workers do little else, so they are built by
hand here and signed by `jobclaim.jobs.storage.signing`; credentials, endpoint and exceptions are those that
`jobclaim.jobs.storage.access` gets from botocore. All other requests go to a boto3 client, which is created for the
first of them. The frequent requests use it too behind a proxy, with a signature other than version 4, and in a process
with greenlets, which libcurl's sockets would block.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Final, Self

import pycurl
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from jobclaim.jobs.clock import wait
from jobclaim.jobs.storage import access, answers, connect
from jobclaim.jobs.storage.access import Access
from jobclaim.jobs.storage.bodies import to_json
from jobclaim.jobs.storage.bundle import Answer, Bundle, Request, Tried, answer_of, connection, prepare
from jobclaim.jobs.storage.resilience import is_transient
from jobclaim.jobs.storage.signing import SignedRequests
from jobclaim.settings import Service, Settings

OPERATIONS: Final = {
    "dynamodb": (
        *("PutItem", "UpdateItem", "GetItem", "DeleteItem"),
        *("Query", "Scan", "BatchGetItem", "TransactWriteItems"),
    ),
    "sqs": (
        *("SendMessage", "SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"),
        *("GetQueueAttributes", "GetQueueUrl"),
    ),
}
"""Operations whose requests and answers are the same JSON that boto3 takes and returns, but for binary values."""
TRIES: Final = 2
FIRST_PAUSE_SECONDS: Final = 0.05


def _method(operation: str) -> str:
    """Return boto3's name of an operation: ``put_item`` for ``PutItem``."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")


DIRECT: Final = {service: {_method(name): name for name in names} for service, names in OPERATIONS.items()}
"""The operations by the names of boto3's methods."""


def client_of(settings: Settings, service: Service) -> Any:
    """Return a client of DynamoDB or SQS with cheap frequent requests; a boto3 client if that is not possible."""
    make = partial(connect.client, settings, service)
    known = access.of_settings(settings, service)
    if known is None:
        return lean(make())
    return LeanClient(known, make) if known.is_direct() else make()


def lean(client: Any) -> Any:
    """Return a DynamoDB or SQS client whose frequent requests cost less, or the same client if that is not possible."""
    ordinary = client._request_signer.signature_version == "v4" and access.of_client(client).is_direct()
    return LeanClient.of(client) if ordinary else client


def requests_of(client: Any) -> SignedRequests:
    """Return an object that signs requests like a client, whether that is lean or not."""
    known = client.access if isinstance(client, LeanClient) else access.of_client(client)
    return SignedRequests(known)


class LeanClient:
    """A boto3 client whose most frequent requests are built by hand. Thread-safe; a forked child needs its own.

    Parameters
    ----------
    known : Access
        Access to DynamoDB or SQS.
    make : callable
        Makes the boto3 client for the other requests.
    sleep : callable
        Waits for a number of seconds before the second try.

    Attributes
    ----------
    longest_ms : int
        Milliseconds that a request may take.
    """

    def __init__(self, known: Access, make: Callable[[], Any], sleep: Callable[[float], None] = wait) -> None:
        self.access = known
        self._tries = TRIES
        self.longest_ms = int(1000 * known.read_seconds)
        self._boto3s = connect.PerProcess(make)
        self._sleep = sleep
        self._options = {
            pycurl.URL: known.url,
            pycurl.CONNECTTIMEOUT_MS: int(1000 * known.connect_seconds),
            pycurl.CAINFO: known.certificates,
            pycurl.PROXY: "",
            pycurl.NOSIGNAL: True,
            pycurl.TCP_KEEPALIVE: True,
        }
        self._idle: deque[Any] = deque()
        self._bundles: deque[Bundle] = deque()
        self._signed = SignedRequests(known)

    @classmethod
    def of(cls, client: Any, sleep: Callable[[float], None] = wait) -> Self:
        """Create a client with the access of a boto3 client, which must be direct."""
        client_ = cls(access.of_client(client), lambda: client, sleep)
        client_._boto3s.get()
        return client_

    @property
    def boto3s(self) -> Any:
        """The boto3 client, made when it is first needed."""
        return self._boto3s.get()

    def __getattr__(self, name: str) -> Any:
        operation = DIRECT[self.access.service].get(name)
        return getattr(self.boto3s, name) if operation is None else partial(self._request, name, operation)

    def with_timeout(self, seconds: float) -> LeanClient:
        """Return a client with the same connections that tries once, for some seconds: for a process about to end."""
        copy = object.__new__(type(self))
        vars(copy).update(vars(self))
        copy._tries, copy.longest_ms = 1, min(self.longest_ms, int(1000 * seconds))
        return copy

    def _request(self, name: str, operation: str, **request: Any) -> Any:
        """Do the same as boto3's method.

        A request that SQS refuses is repeated with boto3, which knows both names of its errors; so is one to DynamoDB
        with binary values, which this client does not encode.
        """
        try:
            return self._ask(operation, to_json(request))
        except TypeError:
            pass
        except ClientError as error:
            if self.access.service != "sqs" or is_transient(error):
                raise
        return getattr(self.boto3s, name)(**request)

    def begin(self, name: str, requests: Sequence[Mapping[str, Any]]) -> list[Callable[..., Any]]:
        """Begin the first tries of several requests at the same time.

        Return for each a function that does from there what boto3's method does: it returns the answer, tries again or
        raises. The first function that is called waits for all answers. Called again, it makes its request again.
        """
        operation = DIRECT[self.access.service][name]
        try:
            bodies = [to_json(request) for request in requests]
        except TypeError:  # binary values, which this client does not encode
            return [getattr(self.boto3s, name)] * len(requests)
        if len(bodies) < 2:
            return [partial(self._again, operation, body, []) for body in bodies]
        finish = cache(self._begun(operation, bodies))
        firsts = (partial(_one_of, finish, number) for number in range(len(bodies)))
        return [partial(self._again, operation, body, [first]) for body, first in zip(bodies, firsts, strict=True)]

    def _begun(self, operation: str, bodies: Sequence[bytes]) -> Callable[[], list[Tried]]:
        """Begin requests; return what waits for all answers. An error is what came of each, as if made by itself."""
        try:
            finish = self._together(operation, bodies)
        except Exception as error:  # noqa: BLE001 - raised by each of the functions, as it would be by boto3's method
            failed: list[Tried] = [error] * len(bodies)
            return lambda: failed

        def result() -> list[Tried]:
            try:
                return finish()
            except Exception as error:  # noqa: BLE001 - as above
                return [error] * len(bodies)

        return result

    def _together(self, operation: str, bodies: Sequence[bytes]) -> Callable[[], list[Tried]]:
        requests = [(self._signed.headers(operation, body), body) for body in bodies]
        hooked = [self._hooked(operation, *request) for request in requests]
        try:
            bundle = self._bundles.pop()
        except IndexError:
            bundle = Bundle(self._options)
        bundle.start(
            [request for request, answer in zip(requests, hooked, strict=True) if answer is None], self.longest_ms
        )

        def finish() -> list[Tried]:
            tried = iter(bundle.finish())
            self._bundles.append(bundle)  # not after an exception: the state of its connections is unknown then
            return [next(tried) if answer is None else (answer.status_code, answer.content, 0) for answer in hooked]

        return finish

    def _again(self, operation: str, body: bytes, firsts: list[Callable[[], Tried]], **_: Any) -> Any:
        return self._ask(operation, body, firsts)

    def connection(self) -> Any:
        """Open a connection, on which the caller makes requests that it has from `signed`."""
        return connection(self._options)

    def signed(self, operation: str, body: bytes) -> Request:
        """Return a request to be made on a `connection`, within `longest_ms`."""
        return self._signed.headers(operation, body), body

    def _ask(self, operation: str, body: bytes, firsts: list[Callable[[], Tried]] | None = None) -> Any:
        """Make a request, and repeat it as often as the client retries; ``firsts`` has its first try, if it was begun.

        Raises
        ------
        botocore.exceptions.ClientError, botocore.exceptions.HTTPClientError
            The error that boto3's client would raise.
        """
        for tries_left in reversed(range(self._tries)):
            try:
                status, answer, repeated = answers.parsed(firsts.pop()() if firsts else self._send(operation, body))
            except pycurl.error as error:
                if not tries_left:
                    raise answers.as_botocore(error, self.access.url) from error
            else:
                if status == answers.OK and answer is not None:
                    return answer
                if refusal := self._error(operation, status, answer or {}, tries_left, repeated):
                    raise refusal
            self._sleep(random.uniform(0, FIRST_PAUSE_SECONDS))
        raise AssertionError

    def _send(self, operation: str, body: bytes) -> Answer:
        lines = self._signed.headers(operation, body)
        hooked = self._hooked(operation, lines, body)
        if hooked is not None:
            return hooked.status_code, hooked.content, 0
        curl = self._connection()
        try:
            prepare(curl, (lines, body), self.longest_ms)
            return answer_of(curl, curl.perform_rb(), (lines, body))
        finally:
            self._idle.append(curl)  # it stays open for the next request of any thread

    def _connection(self) -> Any:
        """Return the idle connection that was used last, so that the others can time out; open one if none is idle."""
        try:
            return self._idle.pop()
        except IndexError:
            return connection(self._options)

    def _hooked(self, operation: str, lines: list[str], body: bytes) -> Any:
        """Let a hook answer instead of AWS, where there is one: moto's in-process mock."""
        name, known = f"before-send.{self.access.service}.{operation}", self.access.hooks._emitter
        if (hooks := known._lookup_cache.get(name)) is None:  # emptied by botocore with each change of its hooks
            hooks = known._lookup_cache[name] = known._handlers.prefix_search(name)
        if not hooks:
            return None
        headers = dict(line.split(": ", 1) for line in lines)
        return self.access.hooks.emit_until_response(
            name, request=AWSRequest("POST", self.access.url, headers, body).prepare()
        )[1]

    def _error(
        self, operation: str, status: int, answer: Mapping[str, Any], tries_left: int, repeated: int
    ) -> Exception | None:
        """Return the error of an answer; ``None`` if the request is to be made again."""
        if tries_left and answers.may_pass(status, answer):
            return None
        if status == answers.OK:
            return answers.strange(self.access.url)
        response = answers.error_response(status, answer, self._tries - 1 - tries_left + repeated)
        if self._boto3s.is_made:  # the client's own exception class, which a caller may catch
            return self.boto3s.exceptions.from_code(response["Error"]["Code"])(response, operation)  # type: ignore[no-any-return]
        return ClientError(response, operation)


def _one_of(finish: Callable[[], list[Tried]], number: int) -> Tried:
    return finish()[number]
