"""The digest of the settings, and that a container of the template has the same settings by its environment alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from jobclaim.infra.environment import OWN_TO_A_MACHINE
from jobclaim.settings import Settings
from jobclaim.specs.digest import DASHBOARD, DIGITS, OWN
from tests.support.containers import REGION, environments, outside
from tests.support.volume import volume

STORED = "scrypt$16384$8$1$" + "s" * 22 + "$" + "k" * 43
BALANCER = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/jobs/1"
CHANGED: dict[str, Any] = {
    "adopt_plain_messages": False,
    "region": "eu-west-1",
    "home_region": "eu-west-1",
    "endpoint_url": "http://127.0.0.1:1",
    "dynamodb_endpoint_url": "http://127.0.0.1:2",
    "sqs_endpoint_url": "http://127.0.0.1:3",
    "s3_endpoint_url": "http://127.0.0.1:4",
    "connect_timeout_seconds": 1.5,
    "read_timeout_seconds": 5,
    "job_table": "their-jobs",
    "fleet_table": "their-fleet",
    "queue_prefix": "their-",
    "queue_urls": {"default": "http://127.0.0.1:3/123456789012/their-own"},
    "default_queue": "mail",
    "recovery_queue": "sweep",
    "queue_preset": "service",
    "queues": (
        {"name": "default", "priority": 3, "visibility_factor": 2.5, "lease_seconds": 2000},
        {"name": "mail", "soft_limit": 5, "hard_limit": 9, "sla_seconds": 0.5, "max_receive_count": 2},
    ),
    "tasks": {
        "shop.*": {"queue": "default", "hard_limit": 1900, "critical": True},
        "shop.it's": {"dead_letters": {"TIMEOUT": {"retries": 2, "after_seconds": 1.5}}},
    },
    "schedules": {
        "night's \u00e4": {"task": "shop.close", "cron": "0 3 * * *", "kwargs": {"a b": ["'", '"', "$x", None, 1.5]}},
        "often": {"task": "shop.look", "every": 1.5, "args": [1, "${AWS::Region}"], "expires": 60},
    },
    "task_modules": ("shop.tasks", "mail.tasks"),
    "prefetch_multiplier": 2,
    "polling_interval_seconds": 0.25,
    "strict_priority": False,
    "wait_time_seconds": 5,
    "stop_timeout_seconds": 90,
    "visibility_slack_seconds": 10,
    "max_tasks_per_child": None,
    "heartbeat_seconds": 5,
    "worker_dead_after_seconds": 50,
    "cancel_grace_seconds": 1,
    "worker_name": "second",
    "run_dir": "/srv/jobclaim",
    "worker_groups": {"all": {"queues": ["default", "mail", "ai", "data", "notifications"], "cpu": 512}},
    "allow_low_visibility": True,
    "lease_grace_seconds": 30,
    "max_attempts": 5,
    "on_orphan": "retry",
    "idempotency_ttl_seconds": 60,
    "max_payload_bytes": 100_000,
    "inline_payload_bytes": 2_048,
    "max_result_bytes": 50_000,
    "max_steps_bytes": 50_000,
    "progress_seconds": 1.0,
    "bucket": "their-bucket",
    "bucket_prefix": "their's/",
    "index_shards": 8,
    "index_completed": False,
    "completed_retention_days": 0.5,
    "dead_retention_days": 14,
    "dead_letters": {"EXTERNAL": {"retries": 1}},
    "alert_topic_arn": "arn:aws:sns:eu-west-1:123456789012:alerts",
    "alert_interval_seconds": 30,
    "alert_repeat_seconds": 60,
    "alert_clear_seconds": 30,
    "alert_duplicate_rate": 0.1,
    "alert_waiting": 5,
    "alert_silence_seconds": 60,
    "recovery_interval_seconds": 20,
    "recovery_by_beat": False,
    "redispatch_min_seconds": 30,
    "max_dispatches": 3,
    "sweep_page_size": 50,
    "sweep_pages_per_shard": 2,
    "log_level": "WARNING",
    "log_format": "console",
    "log_arguments": ("order",),
    "statistics": False,
    "telemetry": "otlp",
    "telemetry_endpoint": "http://127.0.0.1:4318",
    "metrics_port": 9465,
    "dashboard_hosts": ("jobs.example.com",),
    "dashboard_users": {"ann": {"password": STORED}},
    "dashboard_alb": {"signer": BALANCER, "issuer": "https://login.example.com", "client": "jobs"},
    "dashboard_arguments": ("order",),
    "dashboard_results": True,
}
"""A value other than the default for every field. One that needs others is tried with them: see `NEEDS`."""
NEEDS = {"default_queue": ("queues",), "worker_groups": ("queues", "queue_preset")}
SHARED = sorted(name for name in CHANGED if name not in OWN and not name.startswith(DASHBOARD))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, in which the search for a configuration file ends."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()
    return tmp_path


def built(*names: str) -> Settings:
    return Settings(**{name: CHANGED[name] for name in names})


def in_environment(variables: dict[str, str]) -> Settings:
    """Build the settings that a process with exactly these variables has."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return Settings()


# --- what the digest is over
def test_every_field_has_a_changed_value_here() -> None:
    assert sorted(CHANGED) == sorted(Settings.model_fields)


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_a_changed_field_changes_the_digest_unless_it_is_a_processs_own(name: str) -> None:
    needed = NEEDS.get(name, ())
    before, after = built(*needed), built(name, *needed)

    assert getattr(before, name) != getattr(after, name)
    own = name in OWN - {"queue_prefix", "queue_urls", "queue_preset"} or name.startswith(DASHBOARD)
    assert (before.digest == after.digest) is own


def test_the_digest_is_short_and_the_same_in_every_process() -> None:
    code = (
        "import json, sys; from jobclaim.settings import Settings;"
        "print(Settings(**json.load(sys.stdin)).digest, end='')"
    )
    settings = built(*SHARED)
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            input=settings.model_dump_json(include=set(SHARED)),
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert found == [settings.digest] * 2
    assert len(settings.digest) == DIGITS


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"max_attempts": 3}),
        ({}, {"queues": ({"name": "default", "priority": 5},)}),
        ({"queue_preset": "service"}, {"queues": Settings(queue_preset="service").queues}),
        ({}, {"queue_urls": {"default": "https://sqs.eu-west-1.amazonaws.com/123456789012/jobclaim-default"}}),
        ({"tasks": {"a": {"critical": True}, "b": {}}}, {"tasks": {"b": {}, "a": {"critical": True}}}),
        ({"completed_retention_days": 8}, {"completed_retention_days": 8.0}),
    ],
    ids=["a default", "a default inside", "a preset's queues", "the name by a URL", "the order of tasks", "a number"],
)
def test_settings_that_mean_the_same_have_one_digest(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert Settings(**first).digest == Settings(**second).digest


def test_the_order_of_patterns_counts_since_the_first_that_fits_wins() -> None:
    tasks = {"a.*": {"critical": True}, "*": {}}

    assert Settings(tasks=tasks).digest != Settings(tasks=dict(reversed(tasks.items()))).digest


def test_a_secret_does_not_reach_the_digest() -> None:
    assert built("dashboard_users").digest == Settings().digest


# --- a container's environment
def check_containers(settings: Settings) -> None:
    found = environments(settings)
    assert len(found) == len(settings.groups) + 3, "a service each, recovery's, beat, and the function"
    for resource, variables in found.items():
        there = in_environment(variables)
        assert there.digest == settings.digest, resource
        for name in set(Settings.model_fields) - OWN_TO_A_MACHINE - {"recovery_by_beat"}:
            if not name.startswith(DASHBOARD):
                assert getattr(there, name) == getattr(settings, name), (resource, name)


def test_by_default_a_containers_environment_gives_the_same_settings() -> None:
    check_containers(Settings())


@pytest.mark.parametrize("name", SHARED)
def test_a_containers_environment_gives_each_changed_setting(name: str) -> None:
    check_containers(built(name, *NEEDS.get(name, ())))


def test_a_containers_environment_gives_all_changed_settings_at_once() -> None:
    check_containers(built(*(set(CHANGED) - {"queue_urls"})))


def test_what_stands_in_the_projects_file_reaches_the_containers(folder: Path, tmp_path_factory: Any) -> None:
    (folder / "pyproject.toml").write_text(
        "[tool.jobclaim]\nmax_attempts = 7\ntask_modules = ['shop.tasks']\nqueue_preset = 'priority'\n"
        "[[tool.jobclaim.queues]]\nname = 'default'\nsla_seconds = 3\n"
        "[tool.jobclaim.tasks.'shop.*']\nqueue = 'email'\nhard_limit = 200\n"
    )
    (folder / ".env").write_text("JOBCLAIM_INDEX_SHARDS=8")
    settings = Settings()
    found = environments(settings)
    os.chdir(tmp_path_factory.mktemp("elsewhere"))

    assert {in_environment(variables).digest for variables in found.values()} == {settings.digest}
    assert settings.digest != Settings().digest


def test_a_project_with_the_stacks_dotenv_has_the_settings_of_its_containers(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.jobclaim]\nmax_attempts = 7\nqueue_prefix = 'their-'\n")
    settings = Settings()
    (folder / ".env").write_text(outside(settings))
    containers = {in_environment(variables).digest for variables in environments(settings).values()}

    assert Settings().region == REGION
    assert containers == {Settings().digest}


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


@effort(max_examples=volume(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(TEXT, st.fixed_dictionaries({"critical": st.booleans()}), max_size=3),
    st.lists(TEXT, max_size=3),
    st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.none()), max_size=2),
)
def test_any_text_reaches_a_container_as_it_is(
    tasks: dict[str, Any], modules: list[str], arguments: dict[str, Any]
) -> None:
    schedules = {"often": {"task": "shop.look", "every": 60, "kwargs": arguments}}
    check_containers(Settings(tasks=tasks, task_modules=tuple(modules), schedules=schedules))
