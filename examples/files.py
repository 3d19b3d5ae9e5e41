"""Writing files so that being killed, or run twice, leaves nothing half done."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def existing_file(path: str) -> Path:
    """Give the path of a file that is there.

    Raises
    ------
    FileNotFoundError
        With the absolute path: a worker's working directory is often not where the caller was.
    """
    found = Path(path)
    if not found.is_file():
        raise FileNotFoundError(f"there is no file {path!r} (looked at {found.absolute()}); pass an absolute path")
    return found


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in one step: readers see the old one or the new one, whatever happens to this process."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=2)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
