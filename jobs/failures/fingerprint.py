"""Fingerprints that group equal failures: their kind, their exception, and the user's code that raised it."""

from __future__ import annotations

import hashlib
import sysconfig
from pathlib import Path
from types import CodeType, TracebackType
from typing import Final

_LIBRARIES: Final = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_ROOT: Final = Path(__file__).parents[1]
_OURS: Final = tuple(f"{_ROOT / name}/" for name in ("cli", "jobs", "testing", "recovery", "workers"))
DIGITS: Final = 12
LEVELS: Final = 2
"""Number of path parts, folder and file, that identify a place: the same in every checkout and container."""


def of(kind: str, exception: str, where: str) -> str:
    """Return the fingerprint: twelve hexadecimal digits, the same in every version and on every machine."""
    return hashlib.sha256("\0".join((str(kind), exception, where)).encode()).hexdigest()[:DIGITS]


def top_frame(error: BaseException) -> str:
    """Return the innermost function of the user's code in the traceback: ``shop/tasks.py:charge``.

    Line numbers and messages are left out, because they change with every deployment and every job. If the traceback
    contains only libraries, return their innermost function.
    """
    codes = list(_codes(error.__traceback__))
    users_code = [code for code in codes if is_users(code.co_filename)]
    if not codes:
        return ""
    code = (users_code or codes)[-1]
    return f"{'/'.join(Path(code.co_filename).parts[-LEVELS:])}:{code.co_qualname}"


def is_users(filename: str) -> bool:
    """Check whether a file is neither Python's, nor an installed library's, nor ours."""
    return not filename.startswith(("<", *_LIBRARIES, *_OURS))


def _codes(traceback: TracebackType | None) -> list[CodeType]:
    codes = []
    while traceback is not None:
        codes.append(traceback.tb_frame.f_code)
        traceback = traceback.tb_next
    return codes
