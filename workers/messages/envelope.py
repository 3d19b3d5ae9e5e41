"""The envelope that every message of a job carries besides its id: the call's limits, its links and its place in a
canvas.

It is stored with the job, as text that `jobs` does not read, because the message that runs a job may not be the first
one: retries, recovery and jobs due far ahead send others, and a chain must continue from those as well.

::

    up to 16 KB packed, 200 KB unpacked
                     in the job, and in each of its messages
    more             in the job; its worker puts the links into the request: SQS's limit is 1 MiB, with base64 twice
    more than fits the payload's limit
                     the links in S3, where a bucket is set; the rest in the job. Without a bucket: refused
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any, Final

from kombu.utils import json

from jobclaim.jobs import PayloadTooLarge
from jobclaim.jobs.encoding import codec
from jobclaim.jobs.protocol.submission import MAX_ENVELOPE
from jobclaim.jobs.storage.large import Large
from jobclaim.workers.messages.inflate import MOST_BYTES, inflate
from jobclaim.workers.messages.message import HEADER

KEPT: Final = frozenset(
    {
        "MessageGroupId",
        "chain",
        "chord",
        "group_id",
        "group_index",
        "link",
        "link_error",
        "message_attributes",
        "parent_id",
        "replaced_task_nesting",
        "reply_to",
        "root_id",
        "shadow",
        "soft_time_limit",
        "stamped_headers",
        "time_limit",
    }
)
"""Options of a call that Celery's messages carry and that its worker needs."""
LINKS: Final = ("chain", "chord", "link", "link_error")
"""Options that hold signatures, and so may be large."""
AWAY: Final = "links_in_s3"
AWAY_PREFIX: Final = "s3:"
LEFT_OUT: Final = "j:"
"""Prefix of an envelope whose links are stored only in the job."""
MOST_IN_A_MESSAGE: Final = 200_000
"""Limit in characters, unpacked: a message is about 1.8 times as large, and SQS's limit is 1 MiB."""
PACK_ABOVE: Final = 512
"""Characters of an envelope above which it is compressed."""
PACKED: Final = "z:"
OF_ONE_SEND: Final = frozenset({"add_to_parent", "connection", "producer", "retry", "retry_policy"})
"""Options that apply only to one send."""


def seal(options: Mapping[str, Any]) -> str:
    """Encode the options of a call that each of its messages carries; empty if there are none."""
    known = KEPT | {AWAY} | set(options.get("stamped_headers") or ())
    kept = {name: value for name, value in options.items() if name in known and value not in (None, [], {}, ())}
    if own := {name: value for name, value in (options.get("headers") or {}).items() if name != HEADER}:
        kept["headers"] = own
    if not kept:
        return ""
    text = json.dumps(kept)
    packed = _packed(text)
    is_large = len(text) > MOST_IN_A_MESSAGE or len(packed) > MAX_ENVELOPE
    return LEFT_OUT + packed if is_large else packed


def fit(options: Mapping[str, Any], payload: Any, large: Large, limit: int) -> str:
    """Encode as `seal`, with the links in S3 if they do not fit the job beside its payload and there is a bucket.

    Raises
    ------
    PayloadTooLarge, StoreUnavailable
        Too large even for S3, or the write to S3 failed.
    """
    text = seal(options)
    if len(text) <= MAX_ENVELOPE or not large.enabled:
        return text  # if it is too large, the submission raises
    if len(text) - MAX_ENVELOPE + len(codec.encode(payload)) <= limit:
        return text
    links = {name: options[name] for name in LINKS if options.get(name)}
    mark = large.fitting(json.dumps(links), "what follows the job", 0)
    rest = {name: value for name, value in options.items() if name not in LINKS}
    return AWAY_PREFIX + seal({**rest, AWAY: {"names": list(links), "mark": mark}})


def is_left_out(envelope: str) -> bool:
    """Return whether the job's messages carry no links; the worker that claims it reads them from the job."""
    return envelope.startswith((AWAY_PREFIX, LEFT_OUT))


def carried(envelope: str) -> dict[str, Any]:
    """Read what each message of a job carries."""
    options = unseal(envelope)
    if is_left_out(envelope):
        return {name: value for name, value in options.items() if name not in (*LINKS, AWAY)}
    return options


def restored(envelope: str, large: Large) -> dict[str, Any]:
    """Read everything that was sealed, including what is in S3.

    Raises
    ------
    OffloadLost, StoreUnavailable
    """
    options = unseal(envelope)
    away = options.pop(AWAY, None)
    return {**options, **json.loads(large.value(away["mark"]))} if away else options


def names(envelope: str) -> set[str]:
    """Return the names of the options that were sealed, including those in S3."""
    options = unseal(envelope)
    return {*options, *options.get(AWAY, {}).get("names", ())}


def unseal(envelope: str) -> dict[str, Any]:
    """Read what `seal` wrote; for links in S3, their location."""
    envelope = envelope.removeprefix(AWAY_PREFIX).removeprefix(LEFT_OUT)
    if envelope.startswith(PACKED):
        envelope = inflate(base64.b85decode(envelope[len(PACKED) :])).decode()
    return dict(json.loads(envelope)) if envelope else {}


def _packed(text: str) -> str:
    """Compress a large envelope. Signatures are repetitive: a group of fifty shrinks to a tenth."""
    if len(text) <= PACK_ABOVE:
        return text
    if len(data := text.encode()) > MOST_BYTES:
        raise PayloadTooLarge(
            f"the call's links and headers take {len(data)} bytes, at most {MOST_BYTES} are allowed; link fewer tasks "
            "to a call"
        )
    return PACKED + base64.b85encode(zlib.compress(data, 9)).decode()


def of_one_send(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that apply to the first send only."""
    return {name: value for name, value in options.items() if name in OF_ONE_SEND}
