"""Maintenance: delete old files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from celery import shared_task

from jobclaim.workers import JobTask

DAY_SECONDS: Final = 86_400


def delete_older_than(
    directory: Path, days: float, *, now: float, pattern: str = "*", dry_run: bool = False
) -> dict[str, Any]:
    """Delete the files directly in a directory that were last changed more than ``days`` ago.

    Links and directories are not deleted. It is not an error if another process deletes a file first.

    Parameters
    ----------
    now : float
        Epoch seconds.

    Raises
    ------
    ValueError, NotADirectoryError
        The arguments are invalid; nothing was deleted.
    """
    if not days > 0:
        raise ValueError(f"days={days!r} must be above 0: it would delete files that are in use")
    if not directory.is_dir():
        raise NotADirectoryError(f"there is no directory {str(directory)!r} (looked at {directory.absolute()})")
    oldest = now - days * DAY_SECONDS
    old = [file for file in sorted(directory.glob(pattern)) if _is_older(file, oldest)]
    size = sum(file.stat().st_size for file in old)
    if not dry_run:
        for file in old:
            file.unlink(missing_ok=True)
    return {"files": len(old), "bytes": size, "dry_run": dry_run}


@shared_task(base=JobTask, bind=True, name="examples.cleanup_old_data", on_orphan="retry")
def cleanup_old_data(
    self: JobTask, directory: str, days: float = 30, pattern: str = "*", dry_run: bool = False
) -> dict[str, Any]:
    """Delete files in ``directory`` that are older than ``days``; ``dry_run`` only counts them."""
    return delete_older_than(Path(directory), days, now=time.time(), pattern=pattern, dry_run=dry_run)


def _is_older(file: Path, oldest: float) -> bool:
    return file.is_file() and not file.is_symlink() and file.stat().st_mtime < oldest
