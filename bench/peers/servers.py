"""Redis and PostgreSQL on loopback with their defaults, PostgreSQL's durable writes among them."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.peers.line import is_open
from tests.support.endpoints import free_port
from tests.support.waiting import wait_until


@contextmanager
def redis_server() -> Iterator[str]:
    """Run redis-server until the block ends; provide its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed; on Debian: apt-get install redis-server")
    port = free_port()
    with _running([program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], port):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres_server() -> Iterator[int]:
    """Run PostgreSQL with a new cluster until the block ends; provide its port. Its user is ``postgres``."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise SystemExit("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else None  # its programs refuse to run as root
    with tempfile.TemporaryDirectory() as folder:
        if user:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        cluster, port = f"{folder}/cluster", free_port()
        initdb = [str(programs[-1] / "initdb"), "-D", cluster, "-U", "postgres", "-A", "trust"]
        subprocess.run(initdb, user=user, cwd="/", check=True, stdout=subprocess.DEVNULL)
        argv = [str(programs[-1] / "postgres"), "-D", cluster, "-p", str(port), "-h", "127.0.0.1", "-k", ""]
        with _running(argv, port, user=user):
            yield port


@contextmanager
def _running(argv: Sequence[str], port: int, user: str | None = None) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(argv, user=user, cwd="/", stdout=quiet, stderr=quiet)
    try:
        wait_until(lambda: is_open(port), 20, f"{Path(argv[0]).name} accepts connections")
        yield
    finally:
        server.send_signal(2)  # PostgreSQL's fast stop; redis-server ends too
        server.wait(20)
