"""Answers of DynamoDB and SQS to the lean client's requests: read, judged, and turned into botocore's exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pycurl
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from jobclaim.jobs.storage.bodies import from_json
from jobclaim.jobs.storage.bundle import Tried

OK: Final = 200
TOO_OFTEN: Final = ("Throttling", "ThroughputExceeded", "LimitExceeded", "TransactionInProgress")


def parsed(tried: Tried) -> tuple[int, dict[str, Any] | None, int]:
    """Read an answer, or raise the error; ``None`` for what AWS does not send, such as a load balancer's page."""
    if isinstance(tried, Exception):
        raise tried
    status, body, repeated = tried
    try:
        answer = from_json(body or b"{}")
    except ValueError:
        return status, None, repeated
    return status, answer if isinstance(answer, dict) else None, repeated


def may_pass(status: int, answer: Mapping[str, Any]) -> bool:
    """Return whether another try of a request that has failed may succeed."""
    return status == OK or status >= 500 or any(word in _code(status, answer) for word in TOO_OFTEN)


def strange(url: str) -> Exception:
    """Return the error of an answer with status 200 that is not from AWS, which may have made the write or not."""
    return ConnectionClosedError(endpoint_url=url, error="the answer is not JSON")


def error_response(status: int, answer: Mapping[str, Any], repeated: int) -> Any:
    """Return a refusal as botocore's `ClientError` has it, for a request that was made ``repeated`` times more."""
    return {
        **answer,
        "Error": {
            "Code": _code(status, answer),
            "Message": answer.get("message") or answer.get("Message") or "",
        },
        "ResponseMetadata": {"HTTPStatusCode": status, "RetryAttempts": repeated},
    }


def as_botocore(error: Exception, url: str) -> Exception:
    """Return libcurl's error as the one that botocore would raise."""
    kinds = {
        pycurl.E_OPERATION_TIMEDOUT: ReadTimeoutError,
        pycurl.E_COULDNT_CONNECT: EndpointConnectionError,
        pycurl.E_COULDNT_RESOLVE_HOST: EndpointConnectionError,
    }
    exception: Exception = kinds.get(error.args[0], ConnectionClosedError)(endpoint_url=url, error=error)
    return exception


def _code(status: int, answer: Mapping[str, Any]) -> str:
    return str(answer.get("__type", status)).rpartition("#")[2]
