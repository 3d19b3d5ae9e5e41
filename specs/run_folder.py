"""The directory of this machine's pid, liveness and log files: private to the user, so that it can be trusted."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from jobclaim.specs.configuration import Configuration

MODE: Final = 0o700
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def path_of(settings: Configuration) -> Path:
    """Return the directory: ``run_dir``, else ``jobclaim`` in ``$XDG_RUNTIME_DIR``, else in the user's state directory.

    It is never in a temporary directory that users share: another user could create it first and plant commands and
    links.
    """
    if settings.run_dir:
        return Path(settings.run_dir)
    if own := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(own) / "jobclaim"
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "jobclaim"


def claim(folder: Path) -> Path:
    """Create the directory, or make sure that the existing one belongs to this user alone; return it.

    Raises
    ------
    PermissionError
        It cannot be created, is a link, belongs to another user, or is writable by others; the message says which and
        what to do.
    """
    try:
        folder.mkdir(mode=MODE, parents=True, exist_ok=True)
    except FileExistsError:
        raise _refused(folder, "is not a folder") from None
    except OSError as error:
        remedy = "set JOBCLAIM_RUN_DIR to a folder that this user may create"
        raise PermissionError(f"the run folder {folder} cannot be created ({error.strerror}); {remedy}") from None
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
        f"the run folder {folder} {why}, so the commands and logs in it cannot be trusted; remove it, or set "
        "JOBCLAIM_RUN_DIR to a folder of your own"
    )
