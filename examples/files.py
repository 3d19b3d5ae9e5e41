"""Atomic file writes: a killed process, or a second run, leaves no partial file."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def existing_file(path: str) -> Path:
    """Return the path of an existing file.

    Raises
    ------
    FileNotFoundError
        The message has the absolute path, because a worker's working directory often differs from the caller's.
    """
    found = Path(path)
    if not found.is_file():
        raise FileNotFoundError(f"there is no file {path!r} (looked at {found.absolute()}); pass an absolute path")
    return found


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically: readers see the old content or the new one, even if this process is killed."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
