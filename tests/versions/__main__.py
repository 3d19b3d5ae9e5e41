"""The tests marked `versions`, in a venv for each supported pair of Python and locked set; `make versions` runs this.

jobclaim is installed from the wheel. A Python that this machine does not have is left out, in one line; the run fails
when a test does, or when there is no Python at all to test on.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.adoption.building import ROOT, build_wheel, copy_of_sources

CACHE = ROOT / ".cache" / "versions"
UV = ROOT / ".cache" / "lock" / "bin" / "uv"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Pair:
    """A Python release and the file under ``requirements`` that is installed for it."""

    python: str
    lock: str

    @property
    def requirements(self) -> Path:
        """The locked set."""
        return ROOT / "requirements" / f"{self.lock}.txt"

    @property
    def venv(self) -> Path:
        """Where the set is installed."""
        return CACHE / f"{self.python}-{self.lock}"


PAIRS = (Pair("3.11", "oldest"), Pair("3.12", "newest"), Pair("3.13", "newest"))


def main() -> int:
    """Test every pair; give the exit code."""
    CACHE.mkdir(parents=True, exist_ok=True)
    wheel = released()
    failed, tested = [], 0
    for pair in PAIRS:
        python = interpreter(pair.python)
        if python is None:
            say(f"Python {pair.python} is not on this machine: the {pair.lock} set is not tested with it")
            continue
        tested += 1
        say(f"Python {pair.python} with the {pair.lock} set")
        if not passes(installed(pair, python, wheel)):
            failed.append(f"Python {pair.python} with the {pair.lock} set")
    if not tested:
        say("no supported Python was found: install one of " + ", ".join(pair.python for pair in PAIRS))
    for one in failed:
        say(f"FAILED: {one}")
    return int(bool(failed) or not tested)


def interpreter(release: str) -> Path | None:
    """Find a Python: this one, on the PATH, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    named = shutil.which(f"python{release}")
    candidates = [Path(sys.executable)] if release == HERE else []
    candidates += [Path(named)] if named else []
    candidates += sorted(pyenv.glob(f"{release}.*/bin/python"), reverse=True)
    return next((python for python in candidates if runs(python, release)), None)


def runs(python: Path, release: str) -> bool:
    """Whether it starts, is that release and can make a venv: pyenv puts programs on the PATH that only complain."""
    code = "import ensurepip, ssl, sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == release


def released() -> Path:
    """Build jobclaim's wheel as it is released."""
    target = CACHE / "wheel"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    return build_wheel(copy_of_sources(target), target)


def installed(pair: Pair, python: Path, wheel: Path) -> Path:
    """Install the set, unless it is there, and this wheel; give the venv's Python."""
    known, own = pair.venv / ".installed", pair.venv / "bin" / "python"
    digest = hashlib.sha256(pair.requirements.read_bytes()).hexdigest()
    if not known.exists() or known.read_text() != digest:
        subprocess.run([python, "-m", "venv", "--clear", pair.venv], check=True)
        uv("--python", str(own), "--require-hashes", "-r", str(pair.requirements))
        known.write_text(digest)
    uv("--python", str(own), "--no-deps", "--reinstall", str(wheel))
    return own


def passes(python: Path) -> bool:
    """Run the tests: with the wheel, so without ``src`` on the path."""
    argv: list[str | Path] = [
        python,
        "-m",
        "pytest",
        "-q",
        "-m",
        "versions",
        "-o",
        "pythonpath=.",
        "-p",
        "no:cacheprovider",
    ]
    tests = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.versions" in path.read_text())
    return subprocess.run([*argv, *sys.argv[1:], *tests], cwd=ROOT, check=False).returncode == 0


def uv(*arguments: str) -> None:
    """Install with uv, which shares one cache between the venvs."""
    subprocess.run([UV, "pip", "install", "--quiet", *arguments], check=True, cwd=ROOT)


def say(line: str) -> None:
    """Print at once, before what a child prints."""
    print(f"--- {line}", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
