"""A schedule that names a task which does not exist is found in the source, however task and schedule are written."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner, Result

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line

ENTRY = '{"task": "NAME", "schedule": 60.0, "options": {"expires": 60}}'
SCHEDULE = 'beat_schedule = {"tick": ENTRY}'


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))


def check(folder: Path, *arguments: str) -> Result:
    argv = ["schedule", "validate", "--static", str(folder), "--check-orphaned-tasks", *arguments]
    return CliRunner().invoke(command_line, argv, terminal_width=200)


def orphans(result: Result) -> list[str]:
    return [json.loads(line)["subject"] for line in result.stdout.splitlines()]


def scheduled(name: str, schedule: str = SCHEDULE) -> str:
    return schedule.replace("ENTRY", ENTRY).replace("NAME", name)


@pytest.mark.parametrize(("install", "found"), [("", ["tick"]), ("jobclaim.install(app)\n", [])])
def test_ticks_of_a_schedule_that_jobclaim_runs_expire_by_default(
    install: str, found: list[str], tmp_path: Path
) -> None:
    task = "@shared_task(name='shop.pay')\ndef pay(): ...\n"
    schedule = 'beat_schedule = {"tick": {"task": "shop.pay", "schedule": 60.0}}'
    write(tmp_path, {"shop/tasks.py": f"import jobclaim\napp = Celery()\n{install}{task}{schedule}"})
    argv = ["schedule", "validate", "--static", str(tmp_path), "--check-expires"]
    assert orphans(CliRunner().invoke(command_line, argv)) == found


DECLARED = {
    "shared task by module": ({"shop/tasks.py": "@shared_task\ndef pay(): ..."}, "shop.tasks.pay"),
    "given name": ({"shop/tasks.py": "@shared_task(name='shop.pay')\ndef pay(): ..."}, "shop.pay"),
    "the app's own decorator": ({"shop/tasks.py": "@app.task\ndef pay(): ..."}, "shop.tasks.pay"),
    "an app by another name": (
        {"shop/tasks.py": "queue = Celery('shop')\n@queue.task(bind=True)\ndef pay(self): ..."},
        "shop.tasks.pay",
    ),
    "an imported app by another name": (
        {
            "shop/tasks.py": "from shop.background import jobs\n@jobs.task\ndef pay(): ...",
            "shop/background.py": "import celery\njobs = celery.Celery('shop')",
        },
        "shop.tasks.pay",
    ),
    "celery_app.task": ({"shop/tasks.py": "@celery_app.task()\ndef pay(): ..."}, "shop.tasks.pay"),
    "the decorator under another name": (
        {"shop/tasks.py": "from celery import shared_task as job\n@job\ndef pay(): ..."},
        "shop.tasks.pay",
    ),
    "a method as decorator": (
        {"shop/tasks.py": "task = app.task\n@task(bind=True)\ndef pay(self): ..."},
        "shop.tasks.pay",
    ),
    "a partial decorator": (
        {"shop/tasks.py": "job = partial(shared_task, bind=True)\n@job(name='shop.pay')\ndef pay(self): ..."},
        "shop.pay",
    ),
    "a wrapper elsewhere, in files without the word": (
        {
            "shop/tasks.py": "def background(**options):\n    return shared_task(acks_late=False, **options)",
            "shop/money.py": "from .tasks import background\n@background()\ndef pay(): ...",
        },
        "shop.money.pay",
    ),
    "a class as decorator": (
        {
            "shop/tasks.py": "class retried:\n    def __init__(self, **options):\n        self.options = options\n"
            "    def __call__(self, f):\n        return shared_task(**self.options)(f)",
            "shop/money.py": "from .tasks import retried\n@retried(name='shop.pay')\ndef pay(): ...",
        },
        "shop.pay",
    ),
    "below another decorator": ({"shop/tasks.py": "@retry\n@shared_task\n@timed\ndef pay(): ..."}, "shop.tasks.pay"),
    "async": ({"shop/tasks.py": "@shared_task\nasync def pay(): ..."}, "shop.tasks.pay"),
    "in a function": ({"shop/tasks.py": "def make():\n    @shared_task\n    def pay(): ..."}, "shop.tasks.pay"),
    "a call": ({"shop/tasks.py": "def pay(): ...\npay = app.task(name='shop.pay')(pay)"}, "shop.pay"),
    "a call with the function": ({"shop/tasks.py": "def pay(): ...\nshared_task(pay, name='shop.pay')"}, "shop.pay"),
    "a registered class": (
        {"shop/tasks.py": "class Pay(Task):\n    def run(self): ...\napp.register_task(Pay())"},
        "shop.tasks.Pay",
    ),
    "a class with a name": (
        {
            "shop/tasks.py": "from shop.base import Base\nclass Pay(Base):\n    name = 'shop.pay'\n",
            "shop/base.py": "class Base(app.Task): ...",
        },
        "shop.pay",
    ),
    "a named constant": (
        {
            "shop/tasks.py": "from shop import names\n@shared_task(name=names.PAY)\ndef pay(): ...",
            "shop/names.py": "PREFIX = 'shop'\nPAY = f'{PREFIX}.pay'",
        },
        "shop.pay",
    ),
    "a name that is partly computed": (
        {"shop/tasks.py": "@shared_task(name=f'{prefix()}.pay')\ndef pay(): ..."},
        "anything.pay",
    ),
    "a package under src": ({"src/shop/tasks.py": "@shared_task\ndef pay(): ..."}, "shop.tasks.pay"),
    "a package's own module": ({"shop/tasks/__init__.py": "@shared_task\ndef pay(): ..."}, "shop.tasks.pay"),
    "a project in a folder": (
        {"engine/manage.py": "", "engine/apps/shop/tasks.py": "@shared_task\ndef pay(): ..."},
        "apps.shop.tasks.pay",
    ),
    "migrations": ({"shop/migrations/tasks.py": "@shared_task\ndef pay(): ..."}, "shop.migrations.tasks.pay"),
    "Celery's own": ({"shop/tasks.py": ""}, "celery.backend_cleanup"),
}


@pytest.mark.parametrize("case", DECLARED)
def test_a_task_that_exists_is_found_in_every_way_to_declare_it(case: str, tmp_path: Path) -> None:
    files, name = DECLARED[case]
    packages = {
        f"{Path(file).parent}/__init__.py": "" for file in files if "/" in file and Path(file).parent.name != "src"
    }
    write(tmp_path, {**packages, **files, "conf.py": scheduled(name)})
    result = check(tmp_path)
    assert (result.exit_code, orphans(result)) == (ExitCode.OK, []), result.output
    write(tmp_path, {"conf.py": scheduled(name[:-1] + "_gone")})
    assert orphans(check(tmp_path)) == ["tick"]


SCHEDULES = {
    "Django's setting": 'CELERY_BEAT_SCHEDULE = {"tick": ENTRY}',
    "the old setting": 'CELERYBEAT_SCHEDULE = {"tick": ENTRY}',
    "a typed setting": 'CELERY_BEAT_SCHEDULE: dict[str, dict] = {"tick": ENTRY}',
    "the app's configuration": 'app.conf.beat_schedule = {"tick": ENTRY}',
    "an item of it": 'app.conf["beat_schedule"] = {"tick": ENTRY}',
    "one entry": 'app.conf.beat_schedule["tick"] = ENTRY',
    "conf.update by keyword": 'app.conf.update(timezone="UTC", beat_schedule={"tick": ENTRY})',
    "conf.update by table": 'app.conf.update({"beat_schedule": {"tick": ENTRY}})',
    "beat_schedule.update": 'app.conf.beat_schedule.update({"tick": ENTRY})',
    "beat_schedule.update by keyword": "app.conf.beat_schedule.update(tick=ENTRY)",
    "union in place": 'CELERY_BEAT_SCHEDULE |= {"tick": ENTRY}',
    "union": 'CELERY_BEAT_SCHEDULE = {} | {"tick": ENTRY}',
    "unpacked": 'OTHERS = {"tick": ENTRY}\nCELERY_BEAT_SCHEDULE = {**OTHERS}',
    "dict of another": 'ALL = {"tick": ENTRY}\nCELERY_BEAT_SCHEDULE = dict(ALL)',
    "dict by keywords": "CELERY_BEAT_SCHEDULE = dict(tick=ENTRY)",
    "entry by dict": 'CELERY_BEAT_SCHEDULE = {"tick": dict(task="NAME", schedule=60.0)}',
    "a class of settings": 'class Config:\n    beat_schedule = {"tick": ENTRY}',
    "one of two": 'CELERY_BEAT_SCHEDULE = {"tick": ENTRY} if DEBUG else {}',
    "a computed name of the entry": 'CELERY_BEAT_SCHEDULE = {f"{x}": ENTRY}',
    "a constant as task": 'T = "NAME"\nCELERY_BEAT_SCHEDULE = {"tick": {"task": T, "schedule": 60.0}}',
    "add_periodic_task by signature": 'app.add_periodic_task(60.0, app.signature("NAME"), name="tick")',
    "add_periodic_task by registry": 'app.add_periodic_task(60.0, app.tasks["NAME"].s(), name="tick")',
    "jobclaim's settings": 'Settings(schedules={"tick": ScheduleSpec(task="NAME", cron="5 4 * * *")})',
    "jobclaim's settings in Django": 'JOBCLAIM = {"schedules": {"tick": {"task": "NAME", "every": 60}}}',
    "a crontab": 'CELERY_BEAT_SCHEDULE = {"tick": {"task": "NAME", "schedule": crontab(hour=HOUR)}}',
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_an_orphan_is_found_in_every_way_to_write_a_schedule(case: str, tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "@shared_task(name='shop.pay')\ndef pay(): ..."})
    write(tmp_path, {"conf.py": scheduled("shop.pay", SCHEDULES[case])})
    found = check(tmp_path)
    assert (found.exit_code, orphans(found)) == (ExitCode.OK, []), found.output
    write(tmp_path, {"conf.py": scheduled("shop.gone", SCHEDULES[case])})
    found = check(tmp_path)
    [row] = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.exit_code == ExitCode.CHECK_FAILED
    assert (row["check"], row["file"].endswith("conf.py"), "'shop.gone'" in row["problem"]) == (
        "orphaned-tasks",
        True,
        True,
    )
    assert row["line"] >= 1


def test_schedules_of_pyproject_are_read(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "@shared_task(name='shop.pay')\ndef pay(): ..."})
    good, bad = 'good = {{task = "shop.pay", every = 60}}', 'bad = {{task = "{}", cron = "5 4 * * *"}}'
    table = f"[tool.jobclaim.schedules]\n{good}\n{bad}\n"
    write(tmp_path, {"pyproject.toml": table.format("shop.gone")})
    [row] = [json.loads(line) for line in check(tmp_path).stdout.splitlines()]
    assert (row["subject"], row["line"], Path(row["file"]).name) == ("bad", 3, "pyproject.toml")
    write(tmp_path, {"pyproject.toml": table.format("shop.pay")})
    assert check(tmp_path).exit_code == ExitCode.OK


def test_a_task_object_names_its_task_and_a_plain_function_is_an_orphan(tmp_path: Path) -> None:
    text = """
    from shop import tasks
    @app.on_after_configure.connect
    def setup(sender, **kwargs):
        sender.add_periodic_task(60.0, tasks.pay.s(), name="good")
        sender.add_periodic_task(60.0, tasks.helper.s(), name="bad")
    CELERY_BEAT_SCHEDULE = {"by name": {"task": tasks.pay.name, "schedule": 60.0}}
    """
    tasks = "@shared_task(name='x.pay')\ndef pay(): ...\ndef helper(): ..."
    write(tmp_path, {"shop/__init__.py": "", "shop/tasks.py": tasks, "conf.py": text})
    assert orphans(check(tmp_path)) == ["bad"]


COMPUTED = {
    "a computed schedule": "CELERY_BEAT_SCHEDULE = read_schedule()",
    "a computed task": 'CELERY_BEAT_SCHEDULE = {"tick": {"task": choose(), "schedule": 60.0}}',
    "a computed entry": 'CELERY_BEAT_SCHEDULE = {"tick": entry()}',
    "not Python": "beat_schedule = {",
}


@pytest.mark.parametrize("case", COMPUTED)
def test_a_check_that_cannot_be_made_is_an_error_where_it_was_asked_for(case: str, tmp_path: Path) -> None:
    write(tmp_path, {"conf.py": COMPUTED[case]})
    found = check(tmp_path)
    assert (found.exit_code, "conf.py" in found.stderr, "--app" in found.stderr) == (ExitCode.ERROR, True, True)
    everything = CliRunner().invoke(command_line, ["schedule", "validate", "--static", str(tmp_path)])
    assert "conf.py" in everything.stderr


def test_queues_that_the_source_does_not_tell_are_refused(tmp_path: Path) -> None:
    found = CliRunner().invoke(command_line, ["schedule", "validate", "--static", str(tmp_path), "--check-queues"])
    assert (found.exit_code, "--app" in found.stderr) == (ExitCode.USAGE, True)


def test_a_task_of_a_library_is_found_where_it_is_installed_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path, {"site/borrowed_shop/tasks.py": "@shared_task\ndef tidy(): ...", "site/borrowed_shop/__init__.py": ""}
    )
    write(tmp_path, {"project/conf.py": scheduled("borrowed_shop.tasks.tidy")})
    assert orphans(check(tmp_path / "project")) == ["tick"]
    assert check(tmp_path / "project", "--known-task", "borrowed_shop.*").exit_code == ExitCode.OK
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert check(tmp_path / "project").exit_code == ExitCode.OK
    write(tmp_path, {"project/conf.py": scheduled("borrowed_shop.tasks.gone")})
    assert orphans(check(tmp_path / "project")) == ["tick"]


def test_an_app_that_makes_its_own_names_is_matched_by_functions(tmp_path: Path) -> None:
    app = "class App(Celery):\n    def gen_task_name(self, name, module): return name\n@app.task\ndef pay(): ..."
    write(tmp_path, {"shop.py": app, "conf.py": scheduled("pay")})
    assert check(tmp_path).exit_code == ExitCode.OK
    write(tmp_path, {"conf.py": scheduled("payy")})
    assert orphans(check(tmp_path)) == ["tick"]


def test_validate_schedules_is_the_same_command(tmp_path: Path) -> None:
    write(tmp_path, {"conf.py": scheduled("shop.gone")})
    argv = ["--static", str(tmp_path), "--check-orphaned-tasks", "-v"]
    ours = CliRunner().invoke(command_line, ["schedule", "validate", *argv])
    theirs = CliRunner().invoke(command_line, ["validate-schedules", *argv])
    assert (theirs.exit_code, theirs.stdout) == (ours.exit_code, ours.stdout) == (ExitCode.CHECK_FAILED, ours.stdout)
    assert "tick: shop.gone" in theirs.stderr


def test_nothing_found_says_in_how_much(tmp_path: Path) -> None:
    write(tmp_path, {"tasks.py": "@shared_task(name='a.b')\ndef b(): ...", "conf.py": scheduled("a.b")})
    assert "0 findings in 1 schedule entry and 1 task of 2 files." in check(tmp_path).stderr
