"""jobclaim in a Django project: transactions, connections and django-celery-beat, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import warm
from tests.support.stack import ROOT

SETTINGS = """
SECRET_KEY = "test"
INSTALLED_APPS = ["django_celery_beat"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}}
USE_TZ = True
JOBCLAIM = {"JOB_TABLE": "shop-jobs", "RUN_DIR": "run"}
"""
CELERY = """
import os
from celery import Celery, shared_task
import jobclaim

os.environ["DJANGO_SETTINGS_MODULE"] = "shop_settings"
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
jobclaim.install(app)

@shared_task(base=jobclaim.JobTask)
def note(number): return number

@shared_task(base=jobclaim.IdempotentTask, bind=True)
def once(self, number, then=""):
    from celery.exceptions import Ignore
    from django.db import connection
    connection.ensure_connection()
    if then == "ignore": raise Ignore()
    if then == "fail": raise ValueError(number)
    if then == "retry": raise self.retry(countdown=60)

@jobclaim.with_idempotency()
@shared_task
def plain(number): ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Django project with a Celery app."""
    (tmp_path / "shop_settings.py").write_text(SETTINGS)
    (tmp_path / "shop_celery.py").write_text(CELERY)
    return tmp_path


def run(project: Path, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{ROOT}", **variables}
    return warm.run([sys.executable, *argv], cwd=project, env=env, timeout=100)


def report_of(project: Path, program: str) -> Any:
    """Run a program in the project, its app on a harness `h`; give what it appended to `report`."""
    lines = [
        "import json, django",
        "from shop_celery import app, note, once, plain",
        "django.setup()",
        "from django.db import transaction, connection",
        "from jobclaim.testing import Harness",
        "report = []",
        "with Harness.of(app) as h:",
        *(f"    {line}" for line in program.splitlines()),
        'print("report:" + json.dumps(report))',
    ]
    done = run(project, "-c", "\n".join(lines))
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("report:")]
    return json.loads(line.removeprefix("report:"))


def test_a_call_on_commit_is_written_and_sent_after_the_commit_and_not_before(project: Path) -> None:
    program = """
def counts(): report.append([len(h.submitted), len(h.messages)])
with transaction.atomic():
    returned = [note.delay_on_commit(1), note.apply_async_on_commit((2,), countdown=5)]
    once.delay_on_commit(3)
    plain.delay_on_commit(4)
    counts()
counts()
report.append(returned)
report.append([(job.payload["args"], job.available_at > h.clock()) for job in h.submitted])
"""
    expected = [[[1], False], [[2], True], [[3], False], [[4], False]]
    assert report_of(project, program) == [[0, 0], [4, 4], [None, None], expected]


def test_a_rollback_writes_and_sends_nothing_and_outside_a_transaction_it_is_at_once(project: Path) -> None:
    program = """
def counts(): report.append([len(h.submitted), len(h.messages)])
try:
    with transaction.atomic():
        note.delay_on_commit(1)
        raise KeyError
except KeyError:
    counts()
with transaction.atomic():
    try:
        with transaction.atomic():
            note.delay_on_commit(2)
            raise KeyError
    except KeyError:
        note.delay_on_commit(3)
counts()
report.append(h.submitted[-1].payload["args"])
note.delay_on_commit(4)
counts()
"""
    assert report_of(project, program) == [[0, 0], [1, 1], [3], [2, 2]]


@pytest.mark.parametrize("then", ["", "ignore", "fail", "retry", "refused claim"])
def test_connections_are_closed_around_a_claimed_task_however_it_ends(project: Path, then: str) -> None:
    program = f"""
from celery import signals
from celery.fixups.django import DjangoWorkerFixup
fixup = DjangoWorkerFixup(app).install()
once.delay(1, then={then!r})
(message,) = h.messages
if {then!r} == "refused claim":
    assert h.repo.claim_job(message.task_id)
connection.ensure_connection()
before = connection.connection
signals.task_prerun.connect(lambda **_: report.append(["prerun", connection.connection is None]), weak=False)
signals.task_postrun.connect(lambda **_: report.append(["postrun", connection.connection is None]), weak=False)
h.deliver(message)
report.append([connection.connection is None, before is not None])
"""
    assert report_of(project, program) == [["prerun", True], ["postrun", True], [True, True]]


@pytest.mark.parametrize("by", ["option", "name", "configuration", "embedded"])
def test_the_database_scheduler_is_refused_while_beat_does_recovery(project: Path, by: str) -> None:
    chosen = {
        "option": ("beat", "-S", "django"),
        "name": ("beat", "-S", "django_celery_beat.schedulers:DatabaseScheduler"),
        "configuration": ("beat",),
        "embedded": ("worker", "-B", "--scheduler", "django"),
    }[by]
    if by == "configuration":
        scheduler = 'CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"\n'
        (project / "shop_settings.py").write_text(SETTINGS + scheduler)
    done = run(project, "-m", "celery", "-A", "shop_celery", *chosen)
    assert done.returncode == 1, done.stdout
    for part in ("beat cannot start", "DatabaseScheduler", "recovery_by_beat=false", "jobclaim recover --every"):
        assert part in done.stderr


def test_the_database_scheduler_runs_plain_tasks_where_recovery_runs_elsewhere(project: Path) -> None:
    migrate = "import shop_celery, django; django.setup(); from django.core.management import call_command as call; "
    assert run(project, "-c", migrate + 'call("migrate", verbosity=0)').returncode == 0
    program = """
import shop_celery, django, sys; django.setup()
from django_celery_beat.schedulers import DatabaseScheduler
from django_celery_beat.models import PeriodicTask
def end(self): raise KeyboardInterrupt
DatabaseScheduler.tick = end
shop_celery.app.conf.beat_schedule = {"mine": {"task": "shop_celery.note", "schedule": 60.0}}
shop_celery.app.Beat(quiet=True, scheduler="django").start_scheduler()
names = PeriodicTask.objects.values_list("name", flat=True)
print("names:", *sorted(names), file=sys.__stdout__)  # what beat prints goes to its log
"""
    done = run(project, "-c", program, JOBCLAIM_RECOVERY_BY_BEAT="false")
    assert done.returncode == 0, done.stderr
    (names,) = [line for line in done.stdout.splitlines() if line.startswith("names:")]
    assert "mine" in names.split()
    assert "jobclaim-recovery" not in names
    assert (project / "run" / "beat.alive").exists()
