"""A user's program under mypy strict sees jobclaim's types as installed, and an unknown setting is an error there."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """\
from typing_extensions import assert_type

import jobclaim
from jobclaim import Job, JobRepo, QueueSpec, ScheduleSpec, Settings, TaskSpec
from jobclaim.settings import DashboardUser, DeadLetterRule, WorkerGroup

settings = Settings(
    region="eu-west-1",
    max_attempts=2,
    queues=(QueueSpec(name="default", sla_seconds=2),),
    tasks={"shop.*": TaskSpec(critical=True, dead_letters={"EXTERNAL": DeadLetterRule(retries=1)})},
    schedules={"often": ScheduleSpec(task="shop.look", every=60)},
    worker_groups={"all": WorkerGroup(queues=("default",))},
)
assert_type(jobclaim.Settings(), Settings)
assert_type(settings.digest, str)
assert_type(JobRepo.from_settings(settings).get_job("a"), Job)

Settings(regon="x")  # expect: "regon" for "Settings"; did you mean "region"
Settings(queues=(QueueSpec(name="default", sla_second=2),))  # expect: "sla_second" for "QueueSpec"
QueueSpec()  # expect: Missing named argument "name"
TaskSpec(quue="mail")  # expect: "quue" for "TaskSpec"; did you mean "queue"
ScheduleSpec(task="shop.look", evry=60)  # expect: "evry" for "ScheduleSpec"; did you mean "every"
WorkerGroup(queues=("default",), cpus=512)  # expect: "cpus" for "WorkerGroup"; did you mean "cpu"
DashboardUser(passwrd="x")  # expect: "passwrd" for "DashboardUser"
settings.regon  # expect: "Settings" has no attribute "regon"
jobclaim.Setings  # expect: Module has no attribute "Setings"
"""
PLUGINS = {"without": "", "with": "plugins = pydantic.mypy\n"}


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A venv that holds jobclaim as a wheel would put it there, and finds what it needs in this environment."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    shutil.copytree(ROOT / "src" / "jobclaim", packages / "jobclaim", ignore=shutil.ignore_patterns("__pycache__"))
    others = [path for path in [*sys.path, *site.getsitepackages()] if Path(path).name == "site-packages"]
    (packages / "others.pth").write_text("\n".join(dict.fromkeys(others)))
    return folder / "bin" / "python"


def mypy(interpreter: Path, folder: Path, plugins: str) -> str:
    (folder / "program.py").write_text(PROGRAM)
    (folder / "mypy.ini").write_text(f"[mypy]\nstrict = true\n{plugins}")
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--cache-dir",
            os.devnull,
            "--python-executable",
            str(interpreter),
            "program.py",
        ],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in ("MYPYPATH", "PYTHONPATH")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("plugins", PLUGINS.values(), ids=[f"{name} pydantic's plugin" for name in PLUGINS])
def test_what_a_user_misspells_is_an_error_and_nothing_else_is(interpreter: Path, tmp_path: Path, plugins: str) -> None:
    said = dict(re.findall(r"^program\.py:(\d+): error: (.*)$", mypy(interpreter, tmp_path, plugins), re.MULTILINE))
    expected = {
        str(number): line.split("# expect: ")[1]
        for number, line in enumerate(PROGRAM.splitlines(), 1)
        if "# expect: " in line
    }

    assert {line: words for line, words in expected.items() if words not in said.get(line, "")} == {}, said
    assert set(said) == set(expected), said
    assert "untyped" not in "".join(said.values()), "py.typed was not seen"


def test_without_py_typed_the_program_would_not_be_checked(interpreter: Path, tmp_path: Path) -> None:
    (marker,) = interpreter.parents[1].glob("lib/python*/site-packages/jobclaim/py.typed")
    marker.unlink()
    try:
        assert "missing library stubs or py.typed marker" in mypy(interpreter, tmp_path, "")
    finally:
        marker.touch()
