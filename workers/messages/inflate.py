"""Inflate foreign compressed data up to a limit: 260 KB of a message can inflate to gigabytes."""

from __future__ import annotations

import zlib
from typing import Final

MOST_BYTES: Final = 8 * 1024 * 1024
"""Inflated limit of a call or an envelope: 32 messages of SQS, or 20 items of DynamoDB."""


class TooLarge(ValueError):
    """The data inflates to more than the limit; inflating stopped there."""


def inflate(data: bytes, limit: int = MOST_BYTES) -> bytes:
    """Inflate zlib's format, never to more than ``limit`` bytes.

    Raises
    ------
    TooLarge
    zlib.error
        The data is not in zlib's format, or is incomplete.
    """
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(data, limit + 1)
    if len(inflated) > limit:
        raise TooLarge(f"it inflates to more than {limit} bytes; send less, or a reference to it")
    if not inflater.eof:
        raise zlib.error("the compressed text is truncated")
    return inflated
