"""``JOBCLAIM`` in Django's settings: read as the other sources are, weaker than the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django.conf
import pytest
from django.conf import LazySettings
from pydantic import ValidationError

from jobclaim.cli.errors import explain
from jobclaim.settings import Limits, QueueSpec, Settings


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be in a Django project with this value of ``JOBCLAIM``."""

    def be(**values: Any) -> None:
        lazy = LazySettings()
        lazy.configure(**values)
        monkeypatch.setattr(django.conf, "settings", lazy)

    return be


@pytest.mark.parametrize("name", ["job_table", "JOB_TABLE", "Job_Table"])
def test_a_name_may_be_written_in_small_or_capital_letters(project: Callable[..., None], name: str) -> None:
    project(JOBCLAIM={name: "shop-jobs"})
    assert Settings().job_table == "shop-jobs"


def test_tables_inside_are_read_too_and_names_of_tasks_stay_as_they_are(project: Callable[..., None]) -> None:
    project(
        JOBCLAIM={
            "QUEUES": [{"NAME": "default", "SOFT_LIMIT": 30, "hard_limit": 60}, QueueSpec(name="mail")],
            "TASKS": {
                "Shop.Report": {"QUEUE": "mail", "DEAD_LETTERS": {"EXTERNAL": {"RETRIES": 2, "AFTER_SECONDS": 60}}}
            },
        }
    )
    made = Settings()
    assert (made.queue("default").soft_limit, made.queue("default").hard_limit) == (30, 60)
    assert (made.queue_of("Shop.Report"), made.queue_of("shop.report")) == ("mail", "default")
    assert made.dead_letter_rule("Shop.Report", "EXTERNAL").retries == 2


def test_a_variable_is_stronger_also_inside_a_table(
    project: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    project(
        JOBCLAIM={
            "job_table": "django",
            "fleet_table": "django",
            "tasks": {"report": {"soft_limit": 10, "hard_limit": 20}, "mail": {"soft_limit": 1, "hard_limit": 2}},
        }
    )
    monkeypatch.setenv("JOBCLAIM_JOB_TABLE", "variable")
    monkeypatch.setenv("JOBCLAIM_TASKS__report__HARD_LIMIT", "30")
    made = Settings()
    assert (made.job_table, made.fleet_table) == ("variable", "django")
    assert (made.limits("report"), made.limits("mail")) == (Limits(soft=10, hard=30), Limits(soft=1, hard=2))


def test_a_configuration_file_and_dotenv_stand_on_either_side(
    project: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.jobclaim]\njob_table = "file"\nfleet_table = "file"\nregion = "f"\n'
    )
    (tmp_path / ".env").write_text("JOBCLAIM_FLEET_TABLE=dotenv\n")
    monkeypatch.chdir(tmp_path)
    project(JOBCLAIM={"job_table": "django", "fleet_table": "django"})
    made = Settings()
    assert (made.job_table, made.fleet_table, made.region) == ("django", "dotenv", "f")


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ({"job_tabel": "x"}, ["'job_tabel'", "JOBCLAIM", "did you mean 'job_table'"]),
        ({"JOBCLAIM_REGION": "x"}, ["'jobclaim_region'", "JOBCLAIM"]),
        ({"TASKS": {"report": {"HARD_LIMT": 3}}}, ["'hard_limt'", "JOBCLAIM['TASKS']['report']", "'hard_limit'"]),
        ({"queues": [{"name": "a"}, {"nam": "b"}]}, ["'nam'", "JOBCLAIM['queues'][1]", "did you mean 'name'"]),
        ({"region": "a", "REGION": "b"}, ["JOBCLAIM", "'region' twice", "keep one"]),
        (["region"], ["JOBCLAIM=['region']", "not a dictionary"]),
        ({1: "x"}, ["JOBCLAIM", "not a dictionary of names"]),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(
    project: Callable[..., None], table: Any, parts: list[str]
) -> None:
    project(JOBCLAIM=table)
    with pytest.raises(ValidationError) as caught:
        Settings()
    for part in parts:
        assert part in str(caught.value)
        assert part in explain(caught.value).message


@pytest.mark.parametrize("values", [{}, {"JOBCLAIM": None}, {"JOBCLAIM": {}}])
def test_a_project_without_the_table_has_the_defaults(project: Callable[..., None], values: dict[str, Any]) -> None:
    project(**values)
    assert Settings().model_dump(exclude_unset=True, exclude={"region"}) == {}  # AWS_REGION of every test gives that


def test_settings_that_are_made_while_djangos_are_being_read_do_without_them(tmp_path: Path) -> None:
    """Then a name in them may be what they are made for."""
    (tmp_path / "shop_settings.py").write_text(
        "from jobclaim.settings import Settings\n"
        "TABLE = Settings().job_table\n"
        "JOBCLAIM = {'job_table': TABLE + '-of-shop'}\n"
    )
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONPATH": str(tmp_path)}
    code = "from jobclaim.settings import Settings; print(Settings().job_table)"
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.returncode) == (f"{Settings().job_table}-of-shop", 0), done.stderr
