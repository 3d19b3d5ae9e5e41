"""What the audit of source finds of Celery code bases as they are, one finding a cause, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner, Result

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.governance.audit_rules import audit
from jobclaim.governance.finding import grouped
from jobclaim.governance.source import read
from jobclaim.specs.finding import Finding


def audited(folder: Path, check: str, **files: str) -> list[Finding]:
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text))
    return audit(read([folder], relative_to=folder), None, [check])


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command_line, list(arguments), terminal_width=200)


WRITES = {
    "constants": ("order.status = 'paid'\n    order.save()", 0),
    "a constant's name": ("order.status = Status.PAID\n    order.save(update_fields=['status'])", 0),
    "an argument": ("order.note = note\n    order.save()", 0),
    "the time": ("order.ended_at = timezone.now()\n    order.save()", 0),
    "a count in place": ("order.visits += 1\n    order.save()", 1),
    "a count from itself": ("order.visits = order.visits + 1\n    order.save()", 1),
    "a new row": ("order = Order(note=note)\n    order.save()", 1),
    "a new row at once": ("Order(note=note).save()", 1),
    "not told": ("order.save()", 1),
    "a file": ("image.save(path)", 0),
    "a pickle of the project's own class": ("model = Classifier()\n    model.save()", 0),
    "a created row": ("Order.objects.create(note=note)", 1),
    "a bulk of new rows": ("Order.objects.bulk_create(rows)", 1),
    "a bulk that ignores what is there": ("Order.objects.bulk_create(rows, ignore_conflicts=True)", 0),
    "a bulk of the same": ("Order.objects.bulk_update(rows, ['note'])", 0),
    "a bulk of counts": ("for row in rows:\n        row.n += 1\n    Order.objects.bulk_update(rows, ['n'])", 1),
    "an update to an argument": ("Order.objects.filter(pk=1).update(note=note)", 0),
    "an update that counts": ("Order.objects.filter(pk=1).update(n=F('n') + 1)", 1),
    "a row that its model refuses twice": ("Once.objects.create(note=note)", 0),
    "a row with a unique field": ("Named.objects.create(name=note)", 0),
    "a row whose unique field is its default": ("Named.objects.create(note=note)", 1),
    "a loaded row that is reckoned anew": ("order = Order.objects.get(pk=1)\n    order.sync()\n    order.save()", 0),
    "a session": ("db.session.commit()", 1),
    "a git repository": ("repo.commit()", 0),
    "an item": ("table.put_item(Item=item)", 1),
    "an item under a condition": ("table.put_item(Item=item, ConditionExpression='attribute_not_exists(id)')", 0),
}


@pytest.mark.parametrize("case", WRITES)
def test_a_write_counts_where_a_second_one_leaves_something_else(case: str, tmp_path: Path) -> None:
    body, expected = WRITES[case]
    once = "class Once(Model):\n    class Meta:\n        unique_together = ('note',)\n"
    once += "class Named(Model):\n    id = UUIDField(primary_key=True)\n    name = CharField(unique=True)\n"
    text = f"{once}class Classifier:\n    def save(self): ...\n@shared_task\ndef pay(note, rows):\n    {body}\n"
    assert len(audited(tmp_path, "unclaimed-writes", tasks=text)) == expected


def test_plain_tasks_have_the_limits_of_the_app_that_jobclaim_is_installed_on(tmp_path: Path) -> None:
    text = "import jobclaim\n@shared_task\ndef pay(): ...\n"
    assert len(audited(tmp_path, "unlimited", tasks=text)) == 1
    assert audited(tmp_path, "unlimited", tasks=f"{text}jobclaim.install(app)") == []


SETTINGS = {
    "CELERY_TASK_SERIALIZER = 'signed-pickle'": "serializers",
    "CELERY_RESULT_SERIALIZER = 'pickle'": "serializers",
    "CELERY_ACCEPT_CONTENT = {'json', 'pickle'}": "serializers",
    "app.conf.task_serializer = 'yaml'": "serializers",
    "app.conf.update(accept_content=['application/x-python-serialize', 'pickle'])": "serializers",
    "@shared_task(serializer='pickle')\ndef a(): ...": "serializers",
    "CELERY_BROKER_TRANSPORT_OPTIONS = {'visibility_timeout': 18000}": "visibility-timeout",
    "app.conf.broker_transport_options['visibility_timeout'] = 60 * 60": "visibility-timeout",
    "app.conf.broker_transport_options = dict(visibility_timeout=3600)": "visibility-timeout",
    "CELERY_BROKER_TRANSPORT = 'shop.sqs.Transport'": "own-transport",
    "TRANSPORT_ALIASES['sqs'] = 'shop.sqs:Transport'": "own-transport",
    "CELERY_TASK_REJECT_ON_WORKER_LOST = True": "reject-on-worker-lost",
    "@shared_task(reject_on_worker_lost=True)\ndef a(): ...": "reject-on-worker-lost",
    "app.conf.task_acks_late = True": "acks-late",
    "@shared_task(acks_late=True)\ndef a(): ...": "acks-late",
    "LATE = True\nCELERY_TASK_ACKS_LATE = LATE": "acks-late",
}
HARMLESS = (
    "CELERY_TASK_SERIALIZER = 'json'",
    "CELERY_BROKER_TRANSPORT = 'sqs'",
    "MODEL = 'classification_model.pickle'",
    "CELERY_TASK_ACKS_LATE = False",
    "serializer = 'pickle'",
    "timeout = 18000",
)


@pytest.mark.parametrize("text", SETTINGS)
def test_a_setting_that_works_against_the_claim_is_found(text: str, tmp_path: Path) -> None:
    [found] = audited(tmp_path, SETTINGS[text], conf=f"app = Celery()  # of tasks, broker_transport\n{text}\n")
    assert (found.file, found.line >= 2, bool(found.fix)) == ("conf.py", True, True)


@pytest.mark.parametrize("text", HARMLESS)
def test_a_setting_that_does_not_concern_the_claim_is_left_alone(text: str, tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text(f"app = Celery()  # of tasks\n{text}\n")
    checks = sorted(set(SETTINGS.values()))
    assert audit(read([tmp_path]), None, checks) == []


OVERRIDES = {
    "before_start": ("def before_start(self, task_id, args, kwargs): ...", 1),
    "before_start with super": ("def before_start(self, *args): super().before_start(*args)", 0),
    "__call__": ("def __call__(self, *args): return self.run(*args)", 1),
    "__call__ by the class": ("def __call__(self, *args): return JobTask.__call__(self, *args)", 0),
    "on_failure": ("def on_failure(self, *args): log(args)", 1),
    "after_return": ("def after_return(self, *args): close()", 1),
    "Request": ("Request = 'shop.requests:Request'", 1),
    "a Request's class": ("class Request: ...", 1),
    "backend": ("backend = RedisBackend()", 1),
    "Strategy": ("Strategy: str = 'shop.requests:strategy'", 1),
    "a private name of ours": ("def _claim(self): ...", 1),
    "declared only": ("_claim: str", 0),
    "another method": ("def note(self): ...", 0),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_class_that_hides_the_claim_is_named(case: str, tmp_path: Path) -> None:
    body, expected = OVERRIDES[case]
    base = "from jobclaim import JobTask\nclass Base(JobTask):\n    abstract = True\n"
    text = f"from base import Base\nclass Logged(Base):  # a task\n    {body}\n"
    found = audited(tmp_path, "claim-overrides", base=base, logged=text)
    assert [one.subject for one in found] == ["Logged"] * expected
    plain = audited(tmp_path, "claim-overrides", base="from celery import Task\nclass Base(Task): ...\n")
    assert plain == []  # a plain task has no claim to hide


ETAS = {
    "apply_async(countdown=60 * 60)": 1,
    "apply_async(countdown=600)": 0,
    "apply_async(countdown=LONG)": 1,
    "apply_async(countdown=backoff())": 0,
    "apply_async(eta=tomorrow())": 1,
    "apply_async(eta=now() + timedelta(minutes=10))": 0,
    "apply_async(eta=now() + timedelta(hours=2))": 1,
    "apply_async(eta=now() + timedelta(seconds=LONG))": 1,
    "apply_async(eta=now() + timedelta(seconds=backoff()))": 0,
    "apply_async(eta=None)": 0,
}


@pytest.mark.parametrize("call", ETAS)
def test_a_call_far_ahead_is_found_by_what_the_source_tells(call: str, tmp_path: Path) -> None:
    text = f"LONG = 15 * 60 + 1\n@shared_task\ndef a(): ...\ndef later():\n    a.{call}\n"
    assert len(audited(tmp_path, "far-eta", tasks=text)) == ETAS[call]


def test_an_errback_is_not_told_to_claim(tmp_path: Path) -> None:
    text = """
    @shared_task
    def note(request, exc, traceback):
        Failure.objects.create(task=request.id)
    @shared_task
    def pay():
        Payment.objects.create()
    pay.apply_async(link_error=note.s())
    """
    fixes = {one.subject: one.fix for one in audited(tmp_path, "unclaimed-writes", tasks=text)}
    assert ("JobTask" in fixes["tasks.pay"], "JobTask" in fixes["tasks.note"]) == (True, False)


def test_tasks_of_the_app_alone_are_told_once_and_the_apps_own_module_is_not(tmp_path: Path) -> None:
    app = "app = Celery('shop')\n@app.task\ndef ping(): ...\n"
    tasks = "from shop import app\n@app.task\ndef a(): ...\n@app.task\ndef b(): ...\n"
    found = audited(tmp_path, "only-app-tasks", shop=app, tasks=tasks)
    assert {one.subject for one in found} == {"tasks.a", "tasks.b"}
    [one] = grouped(found)
    assert (one.count, one.places, one.subject) == (2, ("tasks.py:3", "tasks.py:5"), "no task uses @shared_task")
    assert audited(tmp_path, "mixed-decorators", tasks="@shared_task\ndef a(): ...\n") == []


def test_tasks_in_migrations_are_read_and_in_tests_are_not(tmp_path: Path) -> None:
    for folder in ("migrations", "tests", "build"):
        (tmp_path / "shop" / folder).mkdir(parents=True)
        (tmp_path / "shop" / folder / "jobs.py").write_text("@shared_task\ndef a(): ...\n")
    assert [task.file for task in read([tmp_path], relative_to=tmp_path).tasks] == ["shop/migrations/jobs.py"]
    (tmp_path / "shop" / "build" / "__init__.py").touch()
    assert len(read([tmp_path], relative_to=tmp_path).tasks) == 2


def many_tasks(folder: Path, count: int) -> None:
    (folder / "tasks.py").write_text("\n".join(f"@shared_task\ndef task_{n}(): ..." for n in range(count)))


def test_one_cause_is_one_finding_with_its_number_and_places(tmp_path: Path) -> None:
    many_tasks(tmp_path, 94)
    result = run("audit", "--static", str(tmp_path))
    [row] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (row["check"], row["count"], len(row["places"])) == ("unlimited", 94, 94)
    assert "1 finding in 94 tasks of 1 file (94 by @shared_task, 100 %)." in result.stderr


def test_a_baseline_knows_each_task_of_a_cause_by_itself(tmp_path: Path) -> None:
    many_tasks(tmp_path, 3)
    known = str(tmp_path / "known.json")
    assert run("audit", "--static", str(tmp_path), "--baseline", known, "--write-baseline").exit_code == ExitCode.OK
    many_tasks(tmp_path, 4)
    result = run("audit", "--static", str(tmp_path), "--baseline", known)
    [row] = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code, row["subject"], row["count"]) == (ExitCode.CHECK_FAILED, "tasks.task_3", 1)


def test_nothing_found_says_so_with_the_number_of_tasks(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text("@shared_task(time_limit=5)\ndef a(): ...\n")
    result = run("audit", "--static", str(tmp_path))
    assert (result.exit_code, "0 findings in 1 task of 1 file " in result.stderr) == (ExitCode.OK, True)


def test_a_report_goes_into_a_folder_and_a_place_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    many_tasks(tmp_path, 2)
    reports = tmp_path / "reports"
    reports.mkdir()
    assert run("audit", "--static", "--generate-report", str(reports), str(tmp_path)).exit_code == ExitCode.CHECK_FAILED
    assert (reports / "tasks.md").read_text().startswith("# Tasks\n\n2 tasks in 1 file (2 by @shared_task, 100 %)")
    (tmp_path / "file").touch()
    result = run("audit", "--static", "--generate-report", str(tmp_path / "file" / "r.md"), str(tmp_path))
    assert (result.exit_code, "file/r.md" in result.stderr, "bug" in result.stderr) == (ExitCode.ERROR, True, False)


TYPES = {
    "x: set[int]": "pass a list",
    "x: 'frozenset[str] | None'": "pass a list",
    "x: t.Optional[t.Set[int]]": "pass a list",
    "x: dict[str, list[timedelta]]": "pass its seconds",
    "*, x: Path": "pass its text",
    "x: t.Annotated[Path, 'a set']": "pass its text",
    "x: Alias": "pass a list",
    "x: Colour": "StrEnum",
    "x: Point": "pydantic model",
    "x: Order": "pass its id",
    "x: Client = None": "fields as a dict",
    "x: bytearray": "pass bytes",
    "x: t.Callable[[int], str]": "name of a task",
    "x: t.Callable[[int], str] | None = None": "",
    "*, y: int, x: t.Callable[[], None] = print": "",
    "*, y: int = 1, x: t.Callable[[], None]": "name of a task",
    "x: int) -> (set[int]": "its result is annotated set",
    "x: int, y: str, z: bytes": "",
    "x: datetime.datetime, y: Decimal, z: UUID": "",
    "x: Level, y: Word, z: Model": "",
    "x: t.Literal['set', 'Path']": "",
    "x: list[dict[str, t.Any]] | None = None": "",
    "x, y: Unknown": "",
    "x: tuple[int, ...]": "",
}
TYPED_MODULE = """
import datetime
import typing as t
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from uuid import UUID
from celery import shared_task
from django.db import models
from pydantic import BaseModel
from elsewhere import Unknown

Alias = set[int]
class Colour(Enum): RED = 1
class Level(IntEnum): HIGH = 1
class Word(str, Enum): A = "a"
@dataclass
class Point: x: int
class Order(models.Model): pass
class Client: pass
class Model(BaseModel): x: set[int]

@shared_task(name="shop.work"OPTIONS)
def work(PARAMETERS):
    pass
"""


def types_found(folder: Path, parameters: str, options: str = "") -> list[Finding]:
    text = TYPED_MODULE.replace("PARAMETERS", parameters).replace("OPTIONS", options)
    return audited(folder, "argument-types", tasks=text)


@pytest.mark.parametrize("parameters", TYPES)
def test_types_that_no_job_can_carry_are_named_with_what_to_pass_instead(parameters: str, tmp_path: Path) -> None:
    expected = TYPES[parameters]
    found = types_found(tmp_path, parameters)
    assert len(found) == bool(expected), found
    assert all(expected in f"{one.problem}; {one.fix}" for one in found)


def test_typed_arguments_are_converted_and_results_are_not(tmp_path: Path) -> None:
    assert types_found(tmp_path, "x: set[int]", ", validate=True") == []
    [result] = types_found(tmp_path, "x: set[int]) -> (set[int]", ", validate=True")
    assert "its result" in result.problem
