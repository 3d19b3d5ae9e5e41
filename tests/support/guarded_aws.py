"""An embedded AWS that enforces IAM: each request is held to the policies of whoever signed it, action and resource.

Policies are evaluated by moto's own IAM; moto itself passes no resource to it, so that is done here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from moto.iam.access_control import IAMPolicy, PermissionResult, create_access_key
from moto.iam.models import Policy
from moto.sts.models import sts_backends

from jobclaim.infra.local import FAKE_KEY
from jobclaim.infra.local_server import LocalServer

ADMINISTRATOR = FAKE_KEY
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/")


@dataclass
class Guard:
    """A WSGI application in front of the embedded AWS.

    Attributes
    ----------
    denied, allowed : set of (action, resource)
        What was asked so far by anybody but the administrator.
    """

    app: Any
    account: str
    denied: set[tuple[str, str]] = field(default_factory=set)
    allowed: set[tuple[str, str]] = field(default_factory=set)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Pass on what the signer may do; answer the rest as AWS does."""
        key, region, service = self._signer(environ)
        if key == ADMINISTRATOR:
            return list(self.app(environ, start_response))
        asked = _Asked.of(environ, self._user_id(key, region))
        policies = [_parsed(policy, asked) for policy in self._policies(key, environ)]
        for action, resource in self._asked(service, region, environ):
            verdicts = {policy.is_action_permitted(action, resource) for policy in policies}
            if PermissionResult.PERMITTED not in verdicts or PermissionResult.DENIED in verdicts:
                self.denied.add((action, resource))
                return _refusal(action, resource, start_response)
            self.allowed.add((action, resource))
        return list(self.app(environ, start_response))

    def forget(self) -> None:
        """Start counting anew."""
        self.denied.clear()
        self.allowed.clear()

    @staticmethod
    def _signer(environ: dict[str, Any]) -> tuple[str, str, str]:
        found = _CREDENTIAL.search(environ.get("HTTP_AUTHORIZATION", ""))
        assert found, "an unsigned request"
        return found[1], found[2], found[3]

    def _user_id(self, key: str, region: str) -> str:
        """AWS's unique id of a signer, as STS tells it."""
        return str(sts_backends[self.account]["aws"].get_caller_identity(key, region)[0])

    def _policies(self, key: str, environ: dict[str, Any]) -> list[Any]:
        token = environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
        headers = {"X-Amz-Security-Token": token} if token else {}
        policies: list[Any] = create_access_key(self.account, "aws", key, headers).collect_policies()
        return policies

    def _asked(self, service: str, region: str, environ: dict[str, Any]) -> Iterator[tuple[str, str]]:
        operation = environ.get("HTTP_X_AMZ_TARGET", "").partition(".")[2]
        if service == "sts":
            return  # AWS lets everyone ask who they are
        body = json.loads(environ["wsgi.input"].getvalue() or b"{}")
        action = f"{service}:{operation.removesuffix('Batch')}"
        arn = f"arn:aws:{service}:{region}:{self.account}:"
        if service == "sqs":
            yield action, arn + str(body.get("QueueName") or body.get("QueueUrl", "")).rsplit("/", 1)[-1]
            return
        assert service == "dynamodb", f"no resource is known for {action}"
        for table in body.get("RequestItems") or [body.get("TableName", "*")]:
            index = f"/index/{body['IndexName']}" if "IndexName" in body else ""
            yield action, f"{arn}table/{table}{index}"


@dataclass(frozen=True)
class _Asked:
    """What conditions look at: the partition key and the attributes of an item request, and who asks."""

    key: str
    attributes: frozenset[str]
    user_id: str

    @classmethod
    def of(cls, environ: dict[str, Any], user_id: str) -> _Asked:
        if not environ.get("HTTP_X_AMZ_TARGET"):
            return cls("", frozenset(), user_id)  # a query, as STS has it
        body = json.loads(environ["wsgi.input"].getvalue() or b"{}")
        item = body.get("Item") or {}
        key = body.get("Key") or {name: value for name, value in item.items() if name in ("job_id", "worker_id")}
        named = (body.get("ExpressionAttributeNames") or {}).values()
        found = next((value["S"] for name, value in sorted(key.items()) if "S" in value), "")
        return cls(found, frozenset((*item, *key, *named)), user_id)


def _parsed(policy: Any, asked: _Asked) -> IAMPolicy:
    """Read a policy, of which only statements count whose conditions hold."""
    if isinstance(policy, Policy):
        policy = next(version.document for version in policy.versions if version.is_default)
    document = json.loads(policy) if isinstance(policy, str) else policy
    document = json.loads(document["policy_document"]) if "policy_document" in document else document
    statements = [
        {name: value for name, value in each.items() if name != "Condition"}
        for each in document["Statement"]
        if all(_holds(operator, test, asked) for operator, test in each.get("Condition", {}).items())
    ]
    return IAMPolicy(json.dumps({**document, "Statement": statements}))


def _holds(operator: str, test: dict[str, list[str]], asked: _Asked) -> bool:
    """Evaluate one operator of a condition as IAM does."""
    ((name, patterns),) = test.items()
    values = asked.attributes if name == "dynamodb:Attributes" else {asked.key}
    wanted = [pattern.replace("${aws:userid}", asked.user_id) for pattern in patterns]
    quantifier, _, comparison = operator.partition(":")
    negated = "Not" in comparison
    hits = [any(fnmatchcase(value, pattern) for pattern in wanted) != negated for value in values]
    return any(hits) if quantifier == "ForAnyValue" else all(hits)


def _refusal(action: str, resource: str, start_response: Any) -> Iterable[bytes]:
    start_response("400 Bad Request", [("Content-Type", "application/x-amz-json-1.0")])
    message = f"not authorized to perform: {action} on resource: {resource}"
    return [json.dumps({"__type": "AccessDeniedException", "message": message}).encode()]


@contextmanager
def guarded_aws() -> Iterator[tuple[str, Guard]]:
    """Run it; gives its URL and the guard."""
    server = LocalServer("127.0.0.1", 0)
    try:
        account = server._app._account
        guard = Guard(server._http.app, account)
        server._http.app = guard
        yield server.url, guard
    finally:
        server.stop()
