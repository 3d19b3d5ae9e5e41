"""Inflating what others compressed, within bounds: 260 KB of a message can inflate to gigabytes."""

from __future__ import annotations

import zlib
from typing import Final

MOST_BYTES: Final = 8 * 1024 * 1024
"""What a call or an envelope may inflate to: 32 messages of SQS, and 20 items of DynamoDB."""


class TooLarge(ValueError):
    """It inflates to more than is allowed; no more than that was inflated."""


def inflate(data: bytes, limit: int = MOST_BYTES) -> bytes:
    """Inflate zlib's format, never to more than ``limit`` bytes.

    Raises
    ------
    TooLarge
    zlib.error
        It is not zlib's format, or it is cut off.
    """
    inflater = zlib.decompressobj()
    made = inflater.decompress(data, limit + 1)
    if len(made) > limit:
        raise TooLarge(f"it inflates to more than {limit} bytes; send less, or a reference to it")
    if not inflater.eof:
        raise zlib.error("the compressed text is cut off")
    return made
