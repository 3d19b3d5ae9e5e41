"""AWS error codes by how they are handled: the single list, for retries and for failure kinds.

Services spell a code with or without the suffix ``Exception``; the lists omit it, and `spelled` accepts both.
"""

from __future__ import annotations

from typing import Final

THROTTLES: Final = frozenset(
    {
        *("Throttling", "Throttled", "TooManyRequests", "RequestLimitExceeded", "SlowDown", "RequestThrottled"),
        *("BandwidthLimitExceeded", "LimitExceeded", "ProvisionedThroughputExceeded", "EC2Throttled"),
        *("KmsThrottled", "KMSThrottling", "KMS.Throttling"),
        *("PriorRequestNotComplete", "TransactionInProgress", "TransactionConflict", "ReplicatedWriteConflict"),
        "RequestTimeout",
    }
)
"""Codes that ask for a slower caller, or for a repetition of the request."""
ACCESS: Final = frozenset(
    {
        *("AccessDenied", "UnauthorizedOperation", "AuthFailure", "NotAuthorized", "AllAccessDisabled"),
        *("UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "ExpiredToken", "RequestExpired"),
        *("SignatureDoesNotMatch", "InvalidSignature", "IncompleteSignature", "RequestTimeTooSkewed"),
        *("MissingAuthenticationToken", "KMSAccessDenied", "KMS.AccessDenied", "KmsAccessDenied"),
        *("KMSDisabled", "KmsDisabled", "KMSInvalidState", "KmsInvalidState"),
    }
)
"""Codes for refused access. They need a fix, but can pass: while a key is rotated, or a policy or role changes."""
UNFIT: Final = frozenset(
    {
        *("Validation", "ConditionalCheckFailed", "TransactionCanceled", "IdempotentParameterMismatch"),
        *("ItemCollectionSizeLimitExceeded", "EntityTooLarge", "InvalidRequest", "InvalidArgument"),
    }
)
"""Codes that refuse what is in the request: the same request is refused again, whatever is mended outside of it."""
DEPLOYMENT: Final = ACCESS | {
    *("OptInRequired", "SubscriptionRequired", "NoSuchBucket", "ResourceNotFound", "QueueDoesNotExist"),
    *("AWS.SimpleQueueService.NonExistentQueue", "PermanentRedirect", "AuthorizationHeaderMalformed"),
}
"""Codes that require a fix of a role, a name or a region."""


def spelled(code: str) -> str:
    """Return a code as these lists spell it."""
    return code.removesuffix("Exception")
