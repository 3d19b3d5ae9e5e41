"""How much the tests try of what has no natural size: seeds, examples, changes of the code, members of a chord.

`make test` tries a quarter. `make thorough` tries all, and runs only the tests that ask here, which are marked
``thorough``, and those whose examples hypothesis generates.
"""

from __future__ import annotations

import os
from typing import Final

THOROUGH: Final = os.environ.get("THOROUGH") == "1"


def volume(full: int) -> int:
    """Give how many of a full number to try: all where thorough, else a quarter, at least one."""
    return full if THOROUGH else max(1, full // 4)
