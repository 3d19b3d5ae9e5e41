"""Durations as counts in buckets of a logarithmic scale, so that those of many processes can be added up.

Each bucket ends at 1.414 times the end of the one before, from 1 ms to 18.6 hours; what is longer is counted in the
last one. A percentile is the value within its bucket that is at most 17 % off, (g - 1) / (g + 1) with g = 1.414:
the estimate and its bound are those of DDSketch (Masson, Rim and Lee, VLDB 2019).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

GROWTH: Final = math.sqrt(2)
LAST: Final = 52
"""Number of the last bucket."""
EDGES: Final = tuple(GROWTH**number for number in range(LAST + 1))
"""End of each bucket, milliseconds."""


def bucket_of(milliseconds: float) -> int:
    """Return the number of the bucket that counts a duration."""
    return min(bisect_left(EDGES, milliseconds), LAST)


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """Return a percentile of the counted durations in milliseconds; ``None`` if none was counted."""
    total = sum(counts.values())
    rank = max(1, math.ceil(share * total))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return round(2 * EDGES[bucket] / (GROWTH + 1))
    return None
