"""The hooks as another repository uses them: pre-commit clones, builds an environment, and runs them on its commits.

Nothing is downloaded: the environment that pre-commit builds sees the libraries of this one, and jobclaim itself is
built from a copy of this tree.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pre_commit")

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
SHIPPED = ("pyproject.toml", "README.md", "LICENSE", "settings.py", ".pre-commit-hooks.yaml")
OWN = ("pip", "jobclaim", "__editable__", "distutils-precedence", "_distutils_hack")
"""Beginnings of what pre-commit's environment must have for itself."""
CONFIG = """
repos:
  - repo: {repo}
    rev: {rev}
    hooks:
      - id: jobclaim-schedules
      - id: jobclaim-audit
        args: [{args}]
"""


class Hooks:
    """A repository of the hooks, and pre-commit with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "GIT_"))},
            "PRE_COMMIT_HOME": str(folder / "cache"),
            "PYTHONPATH": str(self._libraries()),
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's own way of saying yes
            "VIRTUALENV_NO_PERIODIC_UPDATE": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "COLUMNS": "200",
        }
        self.repo = self._published()

    def _libraries(self) -> Path:
        """Make this environment's libraries importable elsewhere, without pip and jobclaim."""
        libraries = self.folder / "libraries"
        libraries.mkdir()
        folders = [Path(place) for place in sys.path if Path(place).name == "site-packages"]
        for path in (path for folder in folders for path in folder.iterdir()):
            link = libraries / path.name
            if not path.name.lower().startswith(OWN) and path.suffix != ".pth" and not link.exists():
                link.symlink_to(path)
        return libraries

    def _published(self) -> Path:
        repo = self.folder / "jobclaim"
        repo.mkdir()
        for name in SHIPPED:
            shutil.copy(ROOT / name, repo)
        for package in sorted(path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"):
            shutil.copytree(package, repo / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(
            ROOT / "src", repo / "src", symlinks=True, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__")
        )
        self.commit(repo)
        return repo

    def commit(self, repo: Path) -> str:
        """Make a folder a repository with one commit; give its hash."""
        author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        for arguments in (["init", "-q"], ["add", "--all", "--force"], [*author, "commit", "-q", "--message", "all"]):
            self.run(repo, "git", *arguments)
        return self.run(repo, "git", "rev-parse", "HEAD").stdout.strip()

    def run(self, cwd: Path, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program."""
        return subprocess.run(
            argv, cwd=cwd, env=self.environment, capture_output=True, text=True, timeout=100, check=check
        )

    def on(self, project: str, *, args: str = "") -> subprocess.CompletedProcess[str]:
        """Run the hooks on all files of a project, as ``git commit`` runs them on those that changed."""
        folder = self.folder / f"{project}-{len(list(self.folder.iterdir()))}"
        shutil.copytree(FIXTURES / project, folder, ignore=shutil.ignore_patterns("__pycache__"))
        rev = self.run(self.repo, "git", "rev-parse", "HEAD").stdout.strip()
        (folder / ".pre-commit-config.yaml").write_text(CONFIG.format(repo=self.repo, rev=rev, args=args))
        self.commit(folder)
        return self.run(folder, sys.executable, "-m", "pre_commit", "run", "--all-files", check=False)


@pytest.fixture(scope="module")
def hooks(tmp_path_factory: pytest.TempPathFactory) -> Hooks:
    """One environment for all tests: to build it takes seconds."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return Hooks(tmp_path_factory.mktemp("hooks"))


def test_a_clean_project_may_commit(hooks: Hooks) -> None:
    done = hooks.on("clean")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Passed") == 2


def test_a_faulty_project_is_told_place_and_remedy(hooks: Hooks) -> None:
    done = hooks.on("faulty")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("Failed") == 2
    assert done.stdout.count("exit code: 4") == 2
    for words in (
        "shop/celery.py:",
        "duplicates",
        "orphaned-tasks",
        "mail.newslettr",
        "did you mean 'mail.newsletter'?",
        "shop/tasks.py:",
        "acks-late",
        "remove it; with base=JobTask",
    ):
        assert words in done.stdout, words


def test_a_baseline_lets_an_old_project_commit_what_was_there(hooks: Hooks) -> None:
    argv = (sys.executable, "-m", "jobclaim", "audit", "--static", "--baseline", str(hooks.folder / "known.json"))
    wrote = subprocess.run(
        [*argv, "--write-baseline", "."],
        cwd=FIXTURES / "faulty",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert wrote.returncode == 0, wrote.stderr
    done = hooks.on("faulty", args=f"--baseline, {hooks.folder / 'known.json'}, .")
    assert done.returncode == 1
    assert (done.stdout.count("Failed"), done.stdout.count("Passed")) == (1, 1), done.stdout
