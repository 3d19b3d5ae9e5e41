"""What every message of a job carries besides its id: the call's own limits, its links and its place in a canvas.

It is stored with the job, as text that `jobs` does not read, because the message that runs a job need not be the first
one: retries, recovery and jobs far ahead send others, and a chain must go on from those as well.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any, Final

from kombu.utils import json

from jobclaim.jobs import PayloadTooLarge
from jobclaim.workers.submission.inflate import MOST_BYTES, inflate
from jobclaim.workers.submission.message import HEADER

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
"""Options of a call that Celery's messages carry and that mean something to whoever runs it."""
PACK_ABOVE: Final = 512
"""Characters of an envelope above which it is compressed."""
PACKED: Final = "z:"
OF_ONE_SEND: Final = frozenset({"add_to_parent", "connection", "producer", "retry", "retry_policy"})
"""Options that concern the sending itself, once."""


def seal(options: Mapping[str, Any]) -> str:
    """Write down the options of a call that each of its messages carries; empty where there are none."""
    names = KEPT | set(options.get("stamped_headers") or ())
    kept = {name: value for name, value in options.items() if name in names and value not in (None, [], {}, ())}
    if own := {name: value for name, value in (options.get("headers") or {}).items() if name != HEADER}:
        kept["headers"] = own
    return _packed(json.dumps(kept)) if kept else ""


def unseal(envelope: str) -> dict[str, Any]:
    """Read what `seal` wrote."""
    if envelope.startswith(PACKED):
        envelope = inflate(base64.b85decode(envelope[len(PACKED) :])).decode()
    return dict(json.loads(envelope)) if envelope else {}


def _packed(text: str) -> str:
    """Signatures repeat themselves: a group of fifty takes a tenth of its room when it is compressed."""
    if len(text) <= PACK_ABOVE:
        return text
    if len(data := text.encode()) > MOST_BYTES:
        raise PayloadTooLarge(
            f"the call's links and headers take {len(data)} bytes, {MOST_BYTES} are allowed; link fewer tasks to a call"
        )
    return PACKED + base64.b85encode(zlib.compress(data, 9)).decode()


def of_one_send(options: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the options that concern the first sending only."""
    return {name: value for name, value in options.items() if name in OF_ONE_SEND}
