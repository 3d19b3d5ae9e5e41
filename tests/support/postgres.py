"""A PostgreSQL of its own for a test, from Debian's package: on a socket in a folder, forgotten at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.support.waiting import wait_until

PACKAGES: Final = Path("/usr/lib/postgresql")
OWNER: Final = "postgres"
"""PostgreSQL does not run as root; Debian's package makes this user."""


class NoPostgres(RuntimeError):
    """PostgreSQL is not installed."""


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Run a server until the block ends; give what `psycopg.connect` takes. Raises `NoPostgres`."""
    programs = _programs()
    data, sockets = folder / "data", folder / "s"
    sockets.mkdir()
    for path in (folder, sockets):
        _hand_over(path)
    _run(programs / "initdb", "--no-sync", "--auth=trust", f"--username={OWNER}", f"--pgdata={data}")
    command = [str(programs / "postgres"), "-D", str(data), "-k", str(sockets), "-c", "listen_addresses=", "-F"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, **_as_owner())
    try:
        address = f"host={sockets} user={OWNER} dbname={OWNER}"
        wait_until(lambda: _answers(address), 30, (folder / "log").read_text)
        yield address
    finally:
        server.terminate()
        server.wait(10)


def _programs() -> Path:
    found = sorted(PACKAGES.glob("*/bin/initdb"))
    here = shutil.which("initdb")
    if not found and not here:
        raise NoPostgres("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    return found[-1].parent if found else Path(str(here)).parent


def _as_owner() -> dict[str, Any]:
    return {"user": OWNER, "group": OWNER} if os.geteuid() == 0 else {}


def _hand_over(path: Path) -> None:
    """Give a folder, and the way to it, to the server's user."""
    if os.geteuid() != 0:
        return
    shutil.chown(path, OWNER, OWNER)
    for parent in path.parents:
        if parent.stat().st_uid == 0 and parent not in (Path("/"), Path("/tmp")):
            parent.chmod(parent.stat().st_mode | 0o011)


def _run(*command: Any) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, **_as_owner())


def _answers(address: str) -> bool:
    import psycopg

    try:
        psycopg.connect(address).close()
    except psycopg.OperationalError:
        return False
    return True
