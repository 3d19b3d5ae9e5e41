"""`jobclaim.install` on the host's own Celery app: what stays the host's, what is overridden, and that it says so."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, Task, _state, shared_task
from celery.schedules import crontab
from kombu import Queue
from structlog.testing import capture_logs

import jobclaim
from jobclaim import JobTask, QueueSpec, ScheduleSpec, Settings, TaskSpec
from jobclaim.workers import time_limits
from jobclaim.workers.config import WrongConfiguration
from jobclaim.workers.handle import NotInstalled, handle_of

pytestmark = pytest.mark.versions
SETTINGS = Settings(queues=(QueueSpec(name="default"), QueueSpec(name="mail", soft_limit=50, hard_limit=60)))


def work() -> None:
    """Do nothing."""


@pytest.fixture(autouse=True)
def own_default_app(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a test installs from being the process's default or current app afterwards."""
    monkeypatch.setattr(_state, "default_app", None)
    monkeypatch.setattr(_state._tls, "current_app", None, raising=False)


def host(**configuration: Any) -> Celery:
    app = Celery("proj", set_as_current=False)
    app.conf.update(configuration)
    return app


def installed(settings: Settings = SETTINGS, /, **configuration: Any) -> Celery:
    app = host(**configuration)
    jobclaim.install(app, settings)
    return app


# --- before or after the configuration
def by_update(app: Celery, values: dict[str, Any]) -> None:
    app.conf.update(values)


def by_object(app: Celery, values: dict[str, Any]) -> None:
    app.config_from_object(type("Config", (), values))


def by_old_names(app: Celery, values: dict[str, Any]) -> None:
    names = {"timezone": "CELERY_TIMEZONE", "task_acks_late": "CELERY_ACKS_LATE", "task_routes": "CELERY_ROUTES"}
    app.config_from_object({names[name]: value for name, value in values.items()})


def by_namespace(app: Celery, values: dict[str, Any]) -> None:
    app.config_from_object({f"SHOP_{name.upper()}": value for name, value in values.items()}, namespace="SHOP")


def by_attribute(app: Celery, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(app.conf, name, value)


WAYS = [by_update, by_object, by_old_names, by_namespace, by_attribute]


@pytest.mark.parametrize("first", ["install", "configure", "configure and read"])
@pytest.mark.parametrize("configure", WAYS)
def test_the_hosts_values_stay_and_the_claim_rule_holds_in_either_order(
    first: str, configure: Callable[[Celery, dict[str, Any]], None]
) -> None:
    app = Celery("proj", set_as_current=False)
    routes = {"mails.*": {"queue": "mail"}}
    values = {"timezone": "Europe/Berlin", "task_acks_late": True, "task_routes": routes}
    if first == "install":
        jobclaim.install(app, SETTINGS)
    configure(app, values)
    if first == "configure and read":
        assert app.conf.task_acks_late is True
    jobclaim.install(app, SETTINGS)
    assert str(app.timezone) == "Europe/Berlin"
    assert app.conf.task_acks_late is False
    assert app.conf.broker_url == "sqs://"
    assert app.amqp.router.lookup_route("mails.send") == {"queue": "mail"}


def test_a_value_that_is_set_after_the_merge_is_overridden_before_a_worker_starts() -> None:
    app = installed()
    assert app.conf.task_acks_late is False
    app.conf.task_acks_late = True
    with capture_logs() as lines:
        app.loader.import_default_modules()
    assert app.conf.task_acks_late is False
    assert [one["key"] for line in lines for one in line.get("overridden", ())] == ["task_acks_late"]


# --- what contradicts the claim rule
OVERRIDDEN: dict[str, Any] = {
    "broker_url": "redis://user:secret@cache/0",
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_retry_on_worker_lost": True,
    "task_acks_on_timeout": False,
    "worker_prefetch_multiplier": 8,
    "worker_enable_remote_control": True,
    "worker_send_task_events": True,
    "task_create_missing_queues": True,
    "task_default_priority": 5,
    "task_queue_max_priority": 10,
    "task_routes": {"shop.*": {"queue": "default", "priority": 9}},
    "worker_soft_shutdown_timeout": 30.0,
    "task_serializer": "pickle",
    "result_serializer": "pickle",
    "accept_content": ["json", "pickle"],
    "task_default_queue": "somewhere",
    "broker_transport_options": {"visibility_timeout": 18_000, "polling_interval": 5, "predefined_queues": {"x": {}}},
}


@pytest.mark.parametrize("key", OVERRIDDEN)
def test_what_contradicts_the_claim_rule_is_overridden_with_key_both_values_and_why(key: str) -> None:
    with capture_logs() as lines:
        app = installed(**{key: OVERRIDDEN[key]})
        app.conf.get("task_routes")
    [line] = [line for line in lines if line["event"] == "config.overridden"]
    assert line["log_level"] == "warning"
    assert line["app"] == "proj"
    for told in line["overridden"]:
        assert told["key"].startswith(key)
        assert told["yours"]
        assert told["ours"]
        assert told["why"]
        assert "secret" not in told["yours"]


def test_all_that_is_overridden_is_one_warning() -> None:
    with capture_logs() as lines:
        installed(**OVERRIDDEN).conf.get("task_routes")
    [line] = [line for line in lines if line["event"] == "config.overridden"]
    named = {told["key"].split("[")[0] for told in line["overridden"]}
    assert named == set(OVERRIDDEN)


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.*": {"queue": "mail", "priority": 9}},
        [("shop.*", {"queue": "mail", "priority": 9})],
        [{"other.*": {"queue": "mail"}}, {"shop.*": {"queue": "mail", "priority": 9}}],
    ],
    ids=["map", "pairs", "several"],
)
def test_a_priority_in_any_form_of_routes_is_named_with_the_remedy(routes: Any) -> None:
    with capture_logs() as lines:
        installed(task_routes=routes).conf.get("task_routes")
    [line] = [line for line in lines if line["event"] == "config.overridden"]
    [told] = line["overridden"]
    assert (told["key"], told["yours"]) == ("task_routes['shop.*']['priority']", "9")
    assert "route to a queue with a higher priority" in told["why"]


@pytest.mark.parametrize(
    "configuration",
    [{}, {"broker_url": "sqs://key:secret@"}, {"task_acks_late": False}, {"task_default_queue": "mail"}],
    ids=str,
)
def test_nothing_is_said_where_nothing_is_overridden(configuration: dict[str, Any]) -> None:
    with capture_logs() as lines:
        installed(**configuration).conf.get("task_routes")
    assert [line["event"] for line in lines] == []


@pytest.mark.parametrize("variable", ["CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"])
@pytest.mark.parametrize("url", ["amqp://user:secret@rabbit//", "sqs://user:secret@"])
def test_another_broker_in_celerys_own_environment_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, url: str
) -> None:
    monkeypatch.setenv(variable, url)
    app = installed()
    assert app.conf.task_acks_late is False
    with pytest.raises(WrongConfiguration, match=f"{variable} ") as refused:
        _ = app.jobclaim.repo
    assert "secret" not in str(refused.value)
    with pytest.raises(WrongConfiguration):
        app.loader.import_default_modules()


# --- what stays the host's
KEPT: dict[str, Any] = {
    "task_time_limit": 77,
    "task_soft_time_limit": 66,
    "worker_max_tasks_per_child": 5,
    "task_annotations": {"*": {"max_retries": 9}},
    "task_ignore_result": True,
    "result_expires": 60,
    "enable_utc": False,
    "worker_hijack_root_logger": True,
    "task_default_queue": "mail",
    "accept_content": ["json", "yaml"],
    "task_serializer": "yaml",
    "task_always_eager": True,
    "worker_max_memory_per_child": 100_000,
}


@pytest.mark.parametrize("key", KEPT)
def test_what_does_not_touch_the_claim_rule_stays(key: str) -> None:
    assert installed(**{key: KEPT[key]}).conf[key] == KEPT[key]


def test_the_hosts_queues_modules_and_transport_options_stand_beside_ours() -> None:
    app = installed(
        task_queues=[Queue("mail", routing_key="mail")],
        imports=("proj.tasks",),
        broker_transport_options={"client-config": {"connect_timeout": 2}},
    )
    assert {queue.name for queue in app.conf.task_queues} == {"default", "mail", "recovery"}
    assert "proj.tasks" in app.conf.imports
    assert app.conf.broker_transport_options["client-config"] == {"connect_timeout": 2}


def test_the_hosts_schedules_run_beside_those_of_settings_and_recovery() -> None:
    settings = Settings(schedules={"ours": ScheduleSpec(task="t", every=60)})
    app = installed(settings, beat_schedule={"theirs": {"task": "t", "schedule": crontab(minute=0)}})
    assert set(app.conf.beat_schedule) == {"ours", "theirs", "jobclaim-recovery"}


def test_a_schedule_that_is_defined_twice_is_refused() -> None:
    settings = Settings(schedules={"nightly": ScheduleSpec(task="a", every=60)})
    app = installed(settings, beat_schedule={"nightly": {"task": "b", "schedule": 3600}})
    with pytest.raises(ValueError, match="nightly"):
        app.loader.import_default_modules()
    app.conf.beat_schedule = {}
    app.loader.import_default_modules()
    assert set(app.conf.beat_schedule) == {"nightly", "jobclaim-recovery"}


def test_bootsteps_and_the_hosts_task_class_stay() -> None:
    class OwnTask(Task):
        pass

    app = Celery("proj", set_as_current=False, task_cls=OwnTask)
    app.steps["worker"].add("proj.steps:Own")
    jobclaim.install(app, SETTINGS)
    assert "proj.steps:Own" in app.steps["worker"]
    plain = app.task(name="t.plain", shared=False)(work)
    assert isinstance(plain, OwnTask)
    assert not isinstance(plain, JobTask)


def test_plain_tasks_keep_their_result_backend() -> None:
    app = installed(result_backend="cache+memory://")
    app.backend.store_result("a-plain-tasks-id", {"words": 3}, "SUCCESS")
    assert app.backend.plain.get_task_meta("a-plain-tasks-id")["result"] == {"words": 3}


def test_without_a_backend_of_the_host_plain_results_are_notes() -> None:
    assert installed().backend.plain is None


# --- routes
@pytest.mark.parametrize(
    "routes",
    [
        {"mails.send": "mail"},
        {"mails.*": {"queue": "mail"}},
        [{"other": "default"}, {"mails.send": {"queue": "mail"}}],
        [("mails.*", {"queue": "mail"})],
        lambda name, args, kwargs, options, task=None, **_: {"queue": "mail"} if name.startswith("mails") else None,
    ],
    ids=["name", "pattern", "several", "pairs", "function"],
)
def test_the_hosts_routes_count_for_jobs(routes: Any) -> None:
    app = installed(task_routes=routes)
    task = app.task(name="mails.send", base=JobTask, shared=False)(work)
    other = app.task(name="charge", base=JobTask, shared=False)(work)
    app.finalize()
    assert (task.queue_name(), other.queue_name()) == ("mail", "default")
    assert (task.time_limit, other.time_limit) == (60, 1800)


def test_a_route_may_be_a_function_of_the_arguments() -> None:
    def route(name: str, args: Any, kwargs: Any, options: Any, **_: Any) -> Any:
        return {"queue": "mail"} if kwargs.get("urgent") else None

    app = installed(task_routes=(route,))
    task = app.task(name="send", base=JobTask, shared=False)(work)
    assert (task.queue_name((), {"urgent": True}), task.queue_name((), {})) == ("mail", "default")


def test_two_routes_of_one_task_are_a_reason_not_to_start() -> None:
    settings = SETTINGS.model_copy(update={"tasks": {"mails.send": TaskSpec(queue="default")}})
    app = installed(settings, task_routes={"mails.send": "mail"})
    task = app.task(name="mails.send", base=JobTask, shared=False)(work)
    [problem] = time_limits.problems([task], app.jobclaim)
    for words in ("'mails.send'", "'default'", "'mail'", "task_routes", "remove one"):
        assert words in problem


def test_a_route_to_a_queue_that_settings_do_not_know_is_a_reason_not_to_start() -> None:
    app = installed(task_routes={"send": "nowhere"})
    task = app.task(name="send", base=JobTask, shared=False)(work)
    assert any("nowhere" in problem for problem in time_limits.problems([task], app.jobclaim))


# --- installing
def test_our_own_tasks_are_registered_on_the_app_alone() -> None:
    ours = {"jobclaim.recovery.sweep", "jobclaim.chord", "jobclaim.tell_links"}
    assert ours <= set(installed().tasks)
    assert not ours & set(host().tasks)


def test_installing_twice_gives_the_same_handle() -> None:
    app = host()
    assert jobclaim.install(app, SETTINGS) is jobclaim.install(app) is app.jobclaim
    assert len(app.steps["worker"]) == 3


def test_installing_with_other_settings_is_refused() -> None:
    app = installed()
    with pytest.raises(ValueError, match="different settings"):
        jobclaim.install(app, Settings(job_table="another-table"))


def test_two_apps_keep_apart() -> None:
    one, other = installed(Settings(job_table="one-jobs")), installed(Settings(job_table="other-jobs"))
    assert one.jobclaim.repo.table.name == "one-jobs"
    assert other.jobclaim.repo.table.name == "other-jobs"
    assert one.conf.broker_transport_options["jobclaim_settings"].job_table == "one-jobs"
    assert other.conf.broker_transport_options["jobclaim_settings"].job_table == "other-jobs"


def test_a_task_that_was_bound_before_gets_its_limits() -> None:
    app = host()
    task = app.task(name="t.early", base=JobTask, shared=False)(work)
    app.finalize()
    jobclaim.install(app, SETTINGS)
    assert task.time_limit == 1800


def resolved_in_a_thread(task: Any) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(task.app))
    thread.start()
    thread.join(30)
    return found[0]


def test_shared_tasks_belong_to_the_installed_app_in_every_thread() -> None:
    app = installed()
    task = shared_task(name="t.everywhere", base=JobTask)(work)
    assert resolved_in_a_thread(task) is app


def test_the_app_that_celery_made_up_gives_way() -> None:
    made_up = _state._get_current_app()
    app = installed()
    assert _state.default_app is app
    assert made_up is not app


def test_a_default_app_that_somebody_chose_stays() -> None:
    chosen = Celery("chosen", set_as_current=False)
    chosen.set_default()
    installed()
    assert _state.default_app is chosen


def test_an_app_without_jobclaim_says_what_to_add() -> None:
    with pytest.raises(NotInstalled, match=r"'proj'; add jobclaim\.install\(app\)"):
        handle_of(host())


# --- importing, in interpreters of their own
def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_jobclaim_imports_nothing_and_reads_no_environment() -> None:
    code = """
import os, sys
class Environment(dict):
    def __getitem__(self, key): raise AssertionError(f"read {key}")
    get = __getitem__
before, os.environ = os.environ, Environment()
import jobclaim
os.environ = before
print(sorted({"celery", "kombu", "boto3", "pydantic", "structlog", "click"} & set(sys.modules)))
"""
    assert run(code).strip() == "[]"


def test_importing_every_public_name_leaves_celerys_state_alone() -> None:
    code = """
import jobclaim
from celery import Celery, _state, signals
mine = Celery("mine")
before = {name: list(s.receivers or ()) for name, s in vars(signals).items() if hasattr(s, "receivers")}
for name in jobclaim.__all__:
    getattr(jobclaim, name)
after = {name: list(s.receivers or ()) for name, s in vars(signals).items() if hasattr(s, "receivers")}
assert before == after, {n for n in after if before[n] != after[n]}
assert _state._tls.current_app is mine and _state.default_app is None
print("alone")
"""
    assert run(code).strip() == "alone"


def test_a_program_without_an_app_submits_with_the_projects_settings() -> None:
    code = """
from celery import shared_task
from jobclaim import JobTask
@shared_task(base=JobTask, name="t.alone")
def alone(): pass
import os
os.environ["JOBCLAIM_JOB_TABLE"] = "of-the-project"
print(alone.jobclaim.repo.table.name)
"""
    assert run(code).strip() == "of-the-project"


def test_a_host_that_forgot_to_install_is_told() -> None:
    code = """
import threading
from celery import Celery, shared_task
from jobclaim import JobTask, NotInstalled
app = Celery("proj")
@shared_task(base=JobTask, name="t.forgotten")
def forgotten(): pass
told = []
def call():
    try:
        forgotten.delay()
    except NotInstalled as error:
        told.append(str(error))
call()
thread = threading.Thread(target=call); thread.start(); thread.join()
print(len(told), all("jobclaim.install(app)" in text for text in told))
"""
    assert run(code).strip() == "2 True"
