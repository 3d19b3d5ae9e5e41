"""A virtual environment per requirement file, created once in the cache folder, with what a peer needs and no more."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.catalog import HERE, Peer
from tests.support.artifacts import cache_dir


def python_of(peer: Peer) -> str:
    """Return the path of the interpreter that runs a peer; create its environment if it does not exist."""
    return str(_home(peer.venv) / "bin" / "python")


def packages_of(venv: str) -> str:
    """Return the folder of an environment's packages, for the end of this process's path: ours are found first."""
    (found,) = _home(venv).glob("lib/python*/site-packages")
    return str(found)


def _home(venv: str) -> Path:
    wanted = HERE / "requirements" / f"{venv}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(wanted.read_bytes() + version.encode()).hexdigest()[:12]
    home = cache_dir() / "peers" / f"{venv}-{digest}"
    if not (home / ".installed").exists():
        _make(home, wanted)
    return home


def _make(home: Path, wanted: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(wanted)], check=True)
    (home / ".installed").touch()
