"""The folder of this machine's pid, liveness and log files: this user's own, so that what is read from it is ours."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from jobclaim.specs.configuration import Configuration

MODE: Final = 0o700
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def path_of(settings: Configuration) -> Path:
    """Name the folder: ``run_dir``, else ``jobclaim`` below ``$XDG_RUNTIME_DIR``, else below the user's state folder.

    Never one in a temporary folder that users share: whoever made it first could put commands and links into it.
    """
    if settings.run_dir:
        return Path(settings.run_dir)
    if own := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(own) / "jobclaim"
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "jobclaim"


def claim(folder: Path) -> Path:
    """Make the folder, or make sure that the one which is there belongs to this user alone; gives it.

    Raises
    ------
    PermissionError
        It is a link, another user's, or others may write into it; the message says which and what to do.
    """
    try:
        folder.mkdir(mode=MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise _refused(folder, "is not a folder") from None
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise _refused(folder, f"is a link to {folder.readlink()}")
    if found.st_uid != os.geteuid():
        raise _refused(folder, f"belongs to the user with id {found.st_uid}, not to you ({os.geteuid()})")
    if found.st_mode & WRITABLE_BY_OTHERS:
        raise _refused(folder, f"can be written by others (mode {stat.S_IMODE(found.st_mode):04o})")
    return folder


def _refused(folder: Path, why: str) -> PermissionError:
    return PermissionError(
        f"the run folder {folder} {why}, so that commands and logs in it cannot be trusted; remove it, or set "
        "JOBCLAIM_RUN_DIR to a folder of your own"
    )
