"""A virtual environment per requirement file, made once in the cache folder: the peers' pins are not ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers.catalog import HERE, Peer
from tests.support.artifacts import cache_dir


def python_of(peer: Peer) -> str:
    """Path of the interpreter that runs a peer; its environment is made when it is not there yet."""
    if peer.venv is None:
        return sys.executable
    wanted = HERE / "requirements" / f"{peer.venv}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(wanted.read_bytes() + version.encode()).hexdigest()[:12]
    home = cache_dir() / "peers" / f"{peer.venv}-{digest}"
    python = home / "bin" / "python"
    if not (home / ".installed").exists():
        _make(home, python, wanted)
    return str(python)


def _make(home: Path, python: Path, wanted: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(wanted)], check=True)
    (home / ".installed").touch()
