"""The wheel, and venvs that it is installed into, as on a machine that has never seen this repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAMS = ("celery", "gunicorn", "mypy", "pytest", "uvicorn")
"""Console scripts of others that a project runs."""
OWN = ("JOBCLAIM_", "PYTEST_", "DJANGO_", "CELERY_", "PYTHON")
"""Beginnings of the environment variables that a project does not inherit from the test run."""


class CommandFailed(AssertionError):
    """A command that must succeed did not; the message has its output."""


def run(argv: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 500) -> str:
    """Run a command to its end; give standard output, or fail with both outputs."""
    done = subprocess.run(
        [str(word) for word in argv], cwd=cwd, env=env, timeout=timeout, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(map(str, argv))} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def clean_environment() -> dict[str, str]:
    """Give the environment without what belongs to this test run."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN)}


def copy_of_sources(folder: Path) -> Path:
    """Copy what the package is made of, and nothing else: building leaves files where it builds.

    What ``src/jobclaim`` does not link to is not there, so a wheel that needs it cannot be built.
    """
    copy = folder / "sources"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, copy / name)
    shutil.copytree(ROOT / "src", copy / "src", symlinks=True, ignore=shutil.ignore_patterns("*.egg-info"))
    for link in (ROOT / "src" / "jobclaim").iterdir():
        if link.is_symlink():
            _copy(link.resolve(), copy / link.resolve().relative_to(ROOT))
    return copy


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy2(source, target)


def build_wheel(sources: Path, folder: Path) -> Path:
    """Build the wheel of a source tree or an sdist, with the locked setuptools and without a download."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sources], cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def build_sdist(sources: Path, folder: Path) -> Path:
    """Build the source distribution."""
    program = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run([sys.executable, "-c", program, folder], cwd=sources)
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def build_venv(folder: Path, wheel: Path) -> Path:
    """Make a fresh venv, install the wheel and let it see the locked packages of this interpreter; give its Python.

    Their folders are named in a ``.pth`` file, and Python does not read the ``.pth`` files that lie in such folders:
    the editable install of this repository stays out of it.
    """
    run([sys.executable, "-m", "venv", "--without-pip", folder], cwd=folder.parent)
    python = folder / "bin" / "python"
    (packages,) = folder.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "locked.pth").write_text("\n".join(others) + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--no-deps", "--ignore-installed", "--no-index", wheel], cwd=folder.parent)
    for name in PROGRAMS:
        _write_program(folder / "bin" / name, python, name)
    return python


def _write_program(path: Path, python: Path, name: str) -> None:
    """Write a console script as pip would have."""
    (entry,) = distribution(name).entry_points.select(group="console_scripts", name=name)
    lines = [f"#!{python}", "import sys", f"from {entry.module} import {entry.attr}", f"sys.exit({entry.attr}())"]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
