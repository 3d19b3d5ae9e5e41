"""Error codes of AWS by what becomes of them: the one list, for what is tried again and for the kinds of failures.

Services spell a code with ``Exception`` behind it or without; here it stands without, and `spelled` takes both.
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
"""They ask for a slower caller, or for the same again."""
ACCESS: Final = frozenset(
    {
        *("AccessDenied", "UnauthorizedOperation", "AuthFailure", "NotAuthorized", "AllAccessDisabled"),
        *("UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "ExpiredToken", "RequestExpired"),
        *("SignatureDoesNotMatch", "InvalidSignature", "IncompleteSignature", "RequestTimeTooSkewed"),
        *("MissingAuthenticationToken", "KMSAccessDenied", "KMS.AccessDenied", "KmsAccessDenied"),
        *("KMSDisabled", "KmsDisabled", "KMSInvalidState", "KmsInvalidState"),
    }
)
"""The caller is not let in. That must be mended, and it passes: while a key is rotated, a policy or a role changes."""
DEPLOYMENT: Final = ACCESS | {
    *("OptInRequired", "SubscriptionRequired", "NoSuchBucket", "ResourceNotFound", "QueueDoesNotExist"),
    *("AWS.SimpleQueueService.NonExistentQueue", "PermanentRedirect", "AuthorizationHeaderMalformed"),
}
"""A role, a name or a region must be mended."""


def spelled(code: str) -> str:
    """Return a code as these lists have it."""
    return code.removesuffix("Exception")
