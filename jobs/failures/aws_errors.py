"""What an AWS error is and what to do about it: the one table from which every interface explains it.

Imports no AWS library: an error is recognized by the names of its classes and by its code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.jobs.failures.aws_codes import ACCESS, THROTTLES, spelled

LIBRARY: Final = "botocore.exceptions"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A kind of AWS error: its codes, or classes of an error without a code, what it is, and what to do."""

    codes: frozenset[str]
    what: str
    remedy: str

    @property
    def words(self) -> str:
        """Return what it is and what to do."""
        return f"{self.what}: {self.remedy}"


THROTTLED: Final = Trouble(
    THROTTLES,
    "AWS throttles the requests",
    "it ends when the load falls; if it persists, raise the table's throughput or the account's quota, or run fewer "
    "workers",
)
EXPIRED: Final = Trouble(
    frozenset(
        {"ExpiredToken", "RequestExpired", "TokenRefreshRequired", "UnauthorizedSSOTokenError", "SSOTokenLoadError"}
    ),
    "the credentials have expired",
    "sign in again (`aws sso login`) or renew AWS_SESSION_TOKEN; a role of ECS or EC2 renews itself once its metadata "
    "service answers",
)
CLOCK: Final = Trouble(
    frozenset({"RequestTimeTooSkewed"}), "this machine's clock is wrong", "set it (NTP), then try again"
)
KEYS: Final = Trouble(
    frozenset(code for code in ACCESS if code.lower().startswith("kms")),
    "the encryption key of the table, queue or bucket cannot be used",
    "enable it, and allow this role kms:Decrypt and kms:GenerateDataKey on it",
)
UNKNOWN: Final = Trouble(
    frozenset({"UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "AuthFailure"})
    | {"SignatureDoesNotMatch", "InvalidSignature", "IncompleteSignature", "MissingAuthenticationToken"},
    "AWS does not know these credentials",
    "check the credentials: AWS_PROFILE, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they belong to this "
    "account and region",
)
DENIED: Final = Trouble(
    ACCESS - EXPIRED.codes - CLOCK.codes - KEYS.codes - UNKNOWN.codes,
    "this identity may not do that",
    "give its role the actions of its policy in template.yaml; `jobclaim doctor --actor` names those that are missing",
)
NO_TABLE: Final = Trouble(
    frozenset({"ResourceNotFound", "TableNotFound"}),
    "the table does not exist",
    "create the tables with `jobclaim up`, or correct JOBCLAIM_JOB_TABLE, JOBCLAIM_FLEET_TABLE or JOBCLAIM_REGION",
)
NO_QUEUE: Final = Trouble(
    frozenset({"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}),
    "the queue does not exist",
    "create the queues with `jobclaim up`, or correct JOBCLAIM_QUEUE_PREFIX, JOBCLAIM_REGION or JOBCLAIM_QUEUE_URLS",
)
NO_BUCKET: Final = Trouble(
    frozenset({"NoSuchBucket"}), "the bucket does not exist", "create it, or correct JOBCLAIM_BUCKET"
)
NO_CREDENTIALS: Final = Trouble(
    frozenset({"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"})
    | {"TokenRetrievalError", "ConfigNotFound"},
    "there are no usable credentials",
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or start a local AWS with `jobclaim dev`",
)
NO_REGION: Final = Trouble(
    frozenset({"NoRegionError", "InvalidRegionError", "PermanentRedirect", "AuthorizationHeaderMalformed"}),
    "the region is missing or wrong",
    "correct JOBCLAIM_REGION",
)
NO_SERVICE: Final = Trouble(
    frozenset({"OptInRequired", "SubscriptionRequired"}),
    "this account does not use the service yet",
    "enable it in the account",
)
UNREACHABLE: Final = Trouble(
    frozenset(),
    "the endpoint cannot be reached",
    "check the endpoint (JOBCLAIM_ENDPOINT_URL, JOBCLAIM_REGION) and the network to it, or start a local AWS with "
    "`jobclaim dev`",
)
OTHER: Final = Trouble(frozenset(), "AWS refused the request", "see the cause; `jobclaim doctor` checks the deployment")
_KNOWN: Final = (
    *(THROTTLED, EXPIRED, CLOCK, KEYS, UNKNOWN, DENIED, NO_TABLE, NO_QUEUE, NO_BUCKET),
    *(NO_CREDENTIALS, NO_REGION, NO_SERVICE),
)
_BY_CODE: Final[Mapping[str, Trouble]] = {code: trouble for trouble in _KNOWN for code in trouble.codes}


def aws_error_in(error: BaseException) -> BaseException | None:
    """Return the AWS error that an error is, or was raised from; ``None`` if AWS has no part in it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if any(cls.__module__ == LIBRARY for cls in type(found).__mro__):
            return found
        seen.add(id(found))
        found = found.__cause__
    return None


def trouble_of(error: BaseException) -> Trouble:
    """Return the kind of an AWS error."""
    for name in _names(error):
        if name in _BY_CODE:
            return _BY_CODE[name]
    return OTHER if _code(error) else UNREACHABLE


def explain_aws(error: BaseException, service: str = "AWS") -> str:
    """Say in one line what was refused, by which code, what that is, and what to do."""
    code, words = _code(error), trouble_of(error).words
    if code:
        details: Any = getattr(error, "response", {})
        message = " ".join(str(details.get("Error", {}).get("Message")).split())
        return f"{service} refused {getattr(error, 'operation_name', 'a request')} with {code}: {message}; {words}"
    outcome = "did not answer" if trouble_of(error) is UNREACHABLE else "could not be asked"
    return f"{service} {outcome}: {' '.join(str(error).split())}; {words}"


def _names(error: BaseException) -> Iterator[str]:
    if code := _code(error):
        yield spelled(code)
        return
    yield from (cls.__name__ for cls in type(error).__mro__)


def _code(error: BaseException) -> str:
    """Return the code of a refusal; empty for an error that is not an answer of AWS."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code") or "?") if isinstance(response, dict) else ""
