"""Each fault of schedules and tasks is found, with file and fix, and none is invented on a clean project."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab
from click.testing import CliRunner, Result

from jobclaim.cli.exits import ExitCode
from jobclaim.cli.main import command_line
from jobclaim.governance.audit_rules import InspectedApp, Registered, audit
from jobclaim.governance.configuration import Setting
from jobclaim.governance.finding import read_baseline, write_baseline
from jobclaim.governance.inspection import fleet_of, world_of
from jobclaim.governance.report import report
from jobclaim.governance.schedule_rules import RULES as SCHEDULE_RULES
from jobclaim.governance.schedule_rules import World, validate
from jobclaim.governance.schedules import Entry, clock_changes, entries_of, next_fires
from jobclaim.governance.source import Source, read
from jobclaim.governance.static_schedules import static_entries
from jobclaim.governance.static_world import static_world
from jobclaim.settings import QueueSpec, ScheduleSpec, Settings, TaskSpec
from jobclaim.specs.cron import Cron
from jobclaim.specs.finding import Finding
from jobclaim.workers import JobTask, create_app

CLEAN = """
from celery import shared_task
from jobclaim.workers import JobTask

@shared_task(base=JobTask, name="shop.charge", time_limit=60)
def charge(invoice):
    Invoice.objects.update(paid=True)

@shared_task(base=JobTask, name="shop.report", time_limit=60)
def report(day):
    return {"day": day}

def later():
    charge.apply_async((1,), countdown=86400)
    report.apply_async((1,), countdown=60)

beat_schedule = {
    "charge": {"task": "shop.charge", "schedule": crontab(hour=5, minute=10), "options": {"expires": 3600}},
    "report": {"task": "shop.report", "schedule": 300.0, "args": (1,), "options": {"expires": 300}},
}
"""

FAULTY = """
from celery import shared_task
from shop.celery import app

@app.task(name="shop.mixed", time_limit=5)
def mixed(): ...

@shared_task(name="shop.twice", time_limit=5)
def twice(): ...

@shared_task(name="shop.twice", time_limit=5)
def twice_again(): ...

@shared_task(name="shop.odd(name)", time_limit=5)
def odd(): ...

@shared_task
def unlimited(): ...

@shared_task(acks_late=True, time_limit=5)
def late(): ...

@shared_task(time_limit=5)
def writes():
    order.save()

def far():
    late.apply_async(countdown=86400)
"""

FAULTY_SCHEDULE = """
from celery.schedules import crontab
CELERY_BEAT_SCHEDULE = {
    "one": {"task": "shop.a", "schedule": crontab(hour=8, minute=0), "options": {"expires": 60}},
    "two": {"task": "shop.a", "schedule": crontab(hour=8, minute=0), "options": {"expires": 60}},
    "never": {"task": "shop.b", "schedule": crontab(day_of_month=30, month_of_year=2), "options": {"expires": 5}},
    "pile": {"task": "shop.c", "schedule": timedelta(minutes=5), "options": {"expires": 60 * 60}},
    "forever": {"task": "shop.d", "schedule": 30 * 60},
    "computed": {"task": "shop.e", "schedule": every_full_moon()},
    NAME: {"task": "shop.f", "schedule": 5},
}
"""


def project(folder: Path, **files: str) -> Source:
    """Write a project and read it."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text))
    return read([folder], relative_to=folder)


def checks(findings: list[Finding]) -> Counter[str]:
    return Counter(one.check for one in findings)


# --- tasks, by source
def test_each_fault_of_the_source_is_found_once_with_its_place(tmp_path: Path) -> None:
    found = audit(project(tmp_path, tasks=FAULTY))
    assert checks(found) == {
        "mixed-decorators": 1,
        "duplicate-names": 1,
        "odd-names": 1,
        "unlimited": 1,
        "acks-late": 1,
        "unclaimed-writes": 1,
        "far-eta": 1,
    }
    lines = FAULTY.splitlines()
    for one in found:
        assert one.file == "tasks.py"
        assert one.fix
        assert lines[one.line - 1].strip()
    assert next(one for one in found if one.check == "unclaimed-writes").line == lines.index("    order.save()") + 1


def test_a_clean_project_has_no_finding(tmp_path: Path) -> None:
    source = project(tmp_path, tasks=CLEAN)
    assert audit(source) == []
    entries, unread = static_entries(source)
    assert (len(entries), unread) == (2, [])
    assert validate(entries, World()) == []


def test_a_name_follows_from_the_package_like_celerys(tmp_path: Path) -> None:
    package = tmp_path / "src" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "tasks.py").write_text("@shared_task\ndef pay(): ...\n")
    [task] = read([tmp_path], relative_to=tmp_path).tasks
    assert (task.name, task.file) == ("shop.tasks.pay", "src/shop/tasks.py")


def test_a_claim_by_hand_and_a_limit_for_all_are_seen(tmp_path: Path) -> None:
    source = project(
        tmp_path,
        tasks="""
        app.conf.task_time_limit = 60
        @shared_task
        def pay(job_id):
            if repo.claim_job(job_id) is None:
                return
            order.save()
        """,
    )
    assert audit(source) == []


def test_a_file_that_is_no_python_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    source = project(tmp_path, bad="@shared_task def (", plain="def (", good="@shared_task\ndef a(): ...\n")
    assert (source.unread, len(source.tasks)) == (["bad.py"], 1)


def test_code_of_a_newer_python_is_read_where_only_its_excepts_are_new(tmp_path: Path) -> None:
    text = "@shared_task\ndef a():\n    try: ...\n    except KeyError, shop.Away:\n        order.save()\n"
    source = project(tmp_path, newer=text)
    assert (source.unread, [task.writes[0][0] for task in source.tasks]) == ([], [5])


def test_late_acknowledgement_is_found_in_settings_and_in_classes_of_tasks(tmp_path: Path) -> None:
    text = """
    CELERY_TASK_ACKS_LATE = True
    class Slow(Task):
        acks_late = True
    app.conf.task_acks_late = True
    app.conf.update(task_acks_late=True)
    acks_late = True  # a variable of somebody's
    CELERY_ACKS_LATE = False
    """
    found = audit(project(tmp_path, conf=text), None, ["acks-late"])
    assert [(one.subject, one.line) for one in found] == [
        ("CELERY_TASK_ACKS_LATE", 2),
        ("Slow", 4),
        ("task_acks_late", 5),
        ("task_acks_late", 6),
    ]


def test_a_setting_explains_the_lateness_of_all_tasks_at_once() -> None:
    source = Source(settings=[Setting("acks-late", "task_acks_late", "True", "conf.py", 3)])
    fleet = InspectedApp({name: Registered(name, acks_late=True) for name in ("a", "b")})
    assert [one.subject for one in audit(source, fleet, ["acks-late"])] == ["task_acks_late"]
    assert [one.subject for one in audit(Source(), fleet, ["acks-late"])] == ["a", "b"]


@pytest.mark.parametrize(
    ("write", "found"),
    [
        ("Order.objects.filter(pk=1).update(paid=True)", 0),
        ("Order.objects.filter(pk=1).delete()", 0),
        ("Order.objects.get_or_create(pk=1)", 0),
        ("Order.objects.filter(pk=1).update(sum=F('sum') + 1)", 1),
        ("Order.objects.create(pk=1)", 1),
    ],
)
def test_a_write_that_leaves_the_same_when_it_comes_twice_is_none(tmp_path: Path, write: str, found: int) -> None:
    source = project(tmp_path, tasks=f"@shared_task\ndef pay():\n    {write}\n")
    assert len(audit(source, None, ["unclaimed-writes"])) == found


# --- tasks, by the app
def nothing() -> None:
    """Stand for a body."""


def test_the_app_adds_routes_limits_and_unused_queues() -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.task_routes = {"audited.routed": {"queue": "mail"}}
    app.conf.task_create_missing_queues = True
    app.conf.task_queues = None
    app.task(name="audited.routed", time_limit=5)(nothing)
    app.task(name="audited.lost", acks_late=True)(nothing)
    # shared tasks of other test modules belong to every app of this process
    found = [one for one in audit(Source(), fleet_of(app)) if one.subject.startswith("audited.")]
    assert checks(found) == {"unrouted": 1, "unlimited": 1, "acks-late": 1}
    assert {one.subject for one in found} == {"audited.lost"}


def test_a_queue_of_the_settings_without_a_task_is_found() -> None:
    app = create_app(
        Settings(
            queues=(QueueSpec(name="default"), QueueSpec(name="mail"), QueueSpec(name="idle")),
            tasks={"shop.mail": TaskSpec(queue="mail")},
        )
    )
    app.task(name="shop.mail")(nothing)
    found = audit(Source(), fleet_of(app), ["unused-queues"])
    assert [one.subject for one in found] == ["idle"]


def test_with_one_queue_there_is_nothing_to_route() -> None:
    app = create_app(Settings())
    app.task(name="shop.any")(nothing)
    assert audit(Source(), fleet_of(app), ["unrouted"]) == []


# --- schedules
def test_each_fault_of_a_schedule_is_found_in_the_source(tmp_path: Path) -> None:
    entries, unread = static_entries(project(tmp_path, conf=FAULTY_SCHEDULE))
    assert [entry.name for entry in entries] == ["one", "two", "never", "pile", "forever", "computed", "NAME"]
    assert unread == []
    found = validate(entries, World())
    by_check = {check: [one.subject for one in found if one.check == check] for check in checks(found)}
    assert by_check == {
        "duplicates": ["two"],
        "never-firing": ["never"],
        "expires": ["pile", "forever", "computed", "NAME"],
    }
    assert all(one.file == "conf.py" and one.line and one.fix for one in found)


HALF_UNDERSTOOD = """
beat_schedule["added"] = {"task": "shop.a", "schedule": timedelta(seconds=EVERY), "options": {"expires": EVERY}}
app.conf.beat_schedule = {
    "cron": {"task": "shop.b", "schedule": crontab(minute=MINUTE), "options": OPTIONS, "args": ARGS, "kwargs": KWARGS},
    "task's own": {"task": "half.c", "schedule": 60},
    "refused": {"task": "shop.d", "schedule": crontab(day_of_week="someday"), "options": {"expires": 5}},
}

@shared_task(expires=60)
def c(): ...
"""


def test_what_is_computed_is_neither_a_fault_nor_an_end(tmp_path: Path) -> None:
    source = project(tmp_path, half=HALF_UNDERSTOOD)
    entries, unread = static_entries(source)
    assert ([entry.name for entry in entries], unread) == (["added", "cron", "task's own", "refused"], [])
    found = validate(entries, static_world(source, hotspot=5, known=["shop.*"]))
    assert [(one.check, one.subject) for one in found if one.check != "idempotency"] == [("never-firing", "refused")]


CALLS = """
@app.on_after_configure.connect
def setup(sender, **kwargs):
    sender.add_periodic_task(crontab(hour=7), charge.s(1), name="one", expires=60)
    sender.add_periodic_task(crontab(hour=7), charge.s(1), name="two", expires=60)
    sender.add_periodic_task(30.0, charge.s(2, fast=True))
    sender.add_periodic_task(schedule=crontab(), sig=other, name=NAME)

@shared_task(name="shop.charge")
def charge(n): ...
"""


def test_entries_that_calls_add_are_read(tmp_path: Path) -> None:
    entries, unread = static_entries(project(tmp_path, celery_app=CALLS))
    assert [(one.name, one.task, one.args, one.expires) for one in entries] == [
        ("one", "shop.charge", (1,), 60),
        ("two", "shop.charge", (1,), 60),
        ("charge.s(2, fast=True)", "shop.charge", (2,), None),
        ("NAME", "other", (), None),
    ]
    assert ([one.task_known for one in entries], unread) == ([True, True, True, False], [])
    found = validate(entries, World())
    assert [(one.check, one.subject, one.line) for one in found] == [
        ("duplicates", "two", 5),
        ("expires", "charge.s(2, fast=True)", 6),
        ("expires", "NAME", 7),
    ]


def test_tests_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "helpers.py").write_text(FAULTY)
    source = project(tmp_path, test_tasks=FAULTY, conftest=FAULTY_SCHEDULE, latest=CLEAN)
    assert {task.file for task in source.tasks} == {"latest.py"}
    assert source.files == 1


def test_settings_that_replace_each_others_entries_are_no_duplicates(tmp_path: Path) -> None:
    source = project(tmp_path, production=CLEAN, development=CLEAN)
    assert validate(static_entries(source)[0], World()) == []


def test_an_interval_of_celerys_own_beat_fires_in_no_known_minute() -> None:
    daily = [entry(f"e{n}", when=86_400.0) for n in range(5)]
    at_midnight = entry("cron", task="shop.e0", when=Cron(minutes=frozenset({0}), hours=frozenset({0})))
    checks = ["hotspots", "duplicates"]
    assert validate([*daily, at_midnight], World(), checks) == []
    found = validate([*daily, at_midnight], World(aligned=True), checks)
    assert [one.check for one in found] == ["hotspots", "duplicates"]
    same = [entry("one", when=60.0), entry("two", task="shop.one", when=60.0)]
    assert [one.subject for one in validate(same, World(), checks)] == ["two"]


def entry(name: str, **options: object) -> Entry:
    return Entry(**{"name": name, "task": f"shop.{name}", "when": 3600.0, "expires": 60.0, **options})  # type: ignore[arg-type]


def test_hotspots_are_minutes_in_which_many_entries_fire() -> None:
    at_eight = Cron(minutes=frozenset({0}), hours=frozenset({8}))
    crowd = [entry(f"e{n}", when=at_eight) for n in range(5)]
    [found] = validate(crowd, World(), ["hotspots"])
    assert (found.subject, "7 times a week" in found.problem) == ("Mon 08:00", True)
    assert validate(crowd[:4], World(), ["hotspots"]) == []
    assert validate([entry(f"e{n}", when=10.0) for n in range(9)], World(), ["hotspots"]) == []


def test_what_the_app_knows_finds_orphans_queues_and_missing_idempotency() -> None:
    world = World(
        tasks=frozenset({"shop.known", "shop.plain"}),
        idempotent=frozenset({"shop.known"}),
        queues=frozenset({"default"}),
        default_queue="default",
    )
    found = validate([entry("known"), entry("plain"), entry("knwon"), entry("known", queue="defualt")], world)
    assert sorted((one.check, one.subject) for one in found if one.check != "duplicates") == [
        ("idempotency", "plain"),
        ("orphaned-tasks", "knwon"),
        ("queues", "known"),
    ]
    fixes = {one.check: one.fix for one in found}
    assert fixes["orphaned-tasks"] == "did you mean 'shop.known'?"
    assert fixes["queues"] == "did you mean 'default'?"


@pytest.mark.parametrize(("hour", "found"), [(2, 1), (5, 0)])
def test_a_crontab_at_the_hour_of_a_clock_change_is_found(hour: int, found: int) -> None:
    berlin = World(zone=ZoneInfo("Europe/Berlin"), year=2025)
    nightly = entry("nightly", when=Cron(minutes=frozenset({30}), hours=frozenset({hour})))
    assert len(validate([nightly], berlin, ["daylight-saving"])) == found
    assert validate([nightly], World(), ["daylight-saving"]) == []
    assert validate([nightly], replace(berlin, aligned=True), ["daylight-saving"]) == []


def test_entries_of_other_zones_meet_in_one_minute() -> None:
    eight, seven = (Cron(minutes=frozenset({0}), hours=frozenset({hour})) for hour in (8, 7))
    berlin = [entry(f"b{n}", when=eight, zone=ZoneInfo("Europe/Berlin")) for n in range(3)]
    utc = [entry(f"u{n}", when=seven, zone=UTC) for n in range(3)]
    [found] = validate([*berlin, *utc], World(), ["hotspots"])
    assert (found.subject, "6 entries" in found.problem) == ("Mon 07:00", True)


def test_a_schedule_in_a_zone_says_when_it_is_next() -> None:
    app = create_app(Settings(schedules={"n": ScheduleSpec(task="t", cron="30 2 29 3 *", timezone="Europe/Berlin")}))
    [ours] = [one for one in entries_of(app) if one.name == "n"]
    assert next_fires(ours, datetime(2025, 3, 30, tzinfo=UTC), 2) == [
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2027, 3, 29, 0, 30, tzinfo=UTC),
    ]


def test_clock_changes_name_the_hours_that_a_year_skips_and_repeats() -> None:
    assert [(f"{at:%m-%d %H}", what) for at, what in clock_changes(ZoneInfo("Europe/Berlin"), 2025)] == [
        ("03-30 02", "skipped"),
        ("10-26 02", "repeated"),
    ]


@pytest.mark.parametrize(
    "when",
    [crontab(minute="*/7"), crontab(hour="8-18", minute=5, day_of_week="mon-fri"), crontab(day_of_month="1", hour=3)],
)
def test_our_calendar_says_what_celerys_does(when: crontab) -> None:
    app = Celery("a", set_as_current=False)
    app.conf.beat_schedule = {"x": {"task": "t", "schedule": when}}
    [ours] = entries_of(app)
    at = datetime(2025, 3, 3, 7, 0, tzinfo=UTC)
    for due in next_fires(ours, at, 3):
        when.nowfun = lambda at=at: at
        when.app = app
        assert at + when.remaining_estimate(at) == due
        at = due


def test_an_app_of_ours_with_a_sound_schedule_is_clean() -> None:
    app = create_app(Settings(schedules={"night": ScheduleSpec(task="shop.night", cron="10 3 * * *")}))
    app.loader.import_default_modules()
    app.task(name="shop.night", base=JobTask)(nothing)
    assert validate(entries_of(app), world_of(app)) == []


# --- the command line
def run(*arguments: str) -> Result:
    return CliRunner().invoke(command_line, list(arguments), terminal_width=200)


def test_the_commands_exit_with_4_name_file_and_fix_and_respect_a_baseline(tmp_path: Path) -> None:
    project(tmp_path, tasks=FAULTY, conf=FAULTY_SCHEDULE)
    known = tmp_path / "known.json"
    for command in (("audit", "--static", str(tmp_path)), ("schedule", "validate", "--static", str(tmp_path))):
        result = run(*command)
        assert result.exit_code == ExitCode.CHECK_FAILED, result.output
        rows = [json.loads(line) for line in result.stdout.splitlines()]
        assert all(row["fix"] and row["place"] for row in rows)
        assert run(*command, "--baseline", str(known), "--write-baseline").exit_code == ExitCode.OK
        assert run(*command, "--baseline", str(known)).exit_code == ExitCode.OK
    assert run("audit", "--static", str(tmp_path), "--baseline", str(tmp_path / "no.json")).exit_code == ExitCode.ERROR


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("app = crontab(day_of_month=30, month_of_year=2)", "cannot be imported: NameError"),
        ("app = 1", "does not name a Celery app"),
    ],
)
def test_an_app_that_cannot_be_had_is_said_so_without_a_bug_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    name = f"broken_{abs(hash(text))}"
    project(tmp_path, **{name: text})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    result = run("schedule", "validate", "--app", f"{name}:app")
    assert (result.exit_code, said in result.stderr, "bug" in result.stderr) == (ExitCode.ERROR, True, False)


def test_a_leap_day_of_one_weekday_fires_once_in_28_years() -> None:
    monday = Cron(days=frozenset({29}), months=frozenset({2}), weekdays=frozenset({1}))
    assert monday.ever_fires()
    assert not Cron(days=frozenset({30}), months=frozenset({2})).ever_fires()


def test_single_checks_can_be_chosen(tmp_path: Path) -> None:
    project(tmp_path, conf=FAULTY_SCHEDULE, tasks=FAULTY)
    result = run("schedule", "validate", "--static", str(tmp_path), "--check-duplicates", "--verbose")
    assert [json.loads(line)["check"] for line in result.stdout.splitlines()] == ["duplicates"]
    only = run("audit", "--static", "--duplicates-only", str(tmp_path))
    assert [json.loads(line)["check"] for line in only.stdout.splitlines()] == ["duplicate-names"]


def test_a_clean_project_passes_both_commands(tmp_path: Path) -> None:
    project(tmp_path, tasks=CLEAN)
    assert run("audit", "--static", str(tmp_path)).exit_code == ExitCode.OK
    assert run("schedule", "validate", "--static", str(tmp_path)).exit_code == ExitCode.OK


def test_the_report_lists_every_task_and_every_finding(tmp_path: Path) -> None:
    source = project(tmp_path, tasks=FAULTY)
    text = report(source, None, audit(source))
    for task in source.tasks:
        assert f"`{task.name}`" in text
    assert run("audit", "--static", "--generate-report", str(tmp_path / "r.md"), str(tmp_path)).exit_code == 4
    assert (tmp_path / "r.md").read_text().startswith("# Tasks\n")
    for _ in ("it is made", "it exists"):
        run("audit", "--static", "--generate-report", str(tmp_path / "new" / "reports"), str(tmp_path))
        (tmp_path / "new" / "reports" / "tasks.md").unlink()


def test_a_broken_baseline_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"b\.json"):
        read_baseline(path)
    one = Finding("a", "b", "c", 1, "d", "e")
    write_baseline(path, [one])
    assert read_baseline(path) == {one.fingerprint}


def test_every_check_of_a_schedule_has_its_option() -> None:
    from jobclaim.cli.commands.schedule import CHECKS

    assert set(CHECKS) == set(SCHEDULE_RULES)
