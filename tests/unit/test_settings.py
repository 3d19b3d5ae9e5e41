"""Where settings come from, what is derived from them, and what they refuse: field, value and remedy in the message."""

from __future__ import annotations

import json
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jobclaim.settings import DashboardUser, QueueSpec, Settings, TaskSpec


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: this repository's own pyproject.toml and .env play no part."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".git").mkdir()  # where the search for a configuration file ends
    return tmp_path


def settings(**given: Any) -> Settings:
    """Build settings from values that a type checker would refuse."""
    return Settings(**given)


def with_queue(**given: Any) -> Settings:
    return settings(queues=[{"name": "default", **given}])


# --- what is refused
REFUSED_SETTINGS: list[tuple[str, dict[str, Any], list[str]]] = [
    # unknown names
    ("an unknown field", {"regon": "x"}, ["'regon'", "did you mean 'region'"]),
    ("a field far from all", {"zzz": 1}, ["'zzz'", "see the fields in settings.py"]),
    (
        "an unknown field of a task",
        {"tasks": {"a": {"quue": "default"}}},
        ["tasks.a", "'quue'", "did you mean 'queue'"],
    ),
    ("an unknown queue preset", {"queue_preset": "prority"}, ["queue_preset", "'prority'", "'priority'"]),
    # queues
    ("a queue given twice", {"queues": [{"name": "default"}] * 2}, ["['default']", "twice", "keep one"]),
    ("an unknown default queue", {"default_queue": "defualt"}, ["default_queue='defualt'", "did you mean 'default'"]),
    ("an illegal recovery queue", {"recovery_queue": "a b"}, ["'a b'", "letters, digits"]),
    ("an illegal prefix", {"queue_prefix": "a b"}, ["queue_prefix", "'a b'", "A-Za-z0-9_-"]),
    ("a prefix with a line end", {"queue_prefix": "a\n"}, ["queue_prefix", "A-Za-z0-9_-"]),
    (
        "a name that is too long with its suffix",
        {"queues": [{"name": "default"}, {"name": "q" * 70}]},
        ["jobclaim-" + "q" * 70 + "-dlq", "83 characters", "80", "shorten"],
    ),
    ("a URL of no queue", {"queue_urls": {"defalt": "https://x"}}, ["queue_urls['defalt']", "did you mean 'default'"]),
    # worker groups
    ("a group of no queue", {"worker_groups": {"a": {"queues": ["defalt"]}}}, ["worker_groups['a']", "mean 'default'"]),
    ("a group without queues", {"worker_groups": {"a": {"queues": []}}}, ["queues is empty", "name a queue"]),
    (
        "a group that makes recovery wait",
        {"worker_groups": {"a": {"queues": ["default", "recovery"]}}},
        ["worker_groups['a']", "recovery_queue='recovery'", "remove it"],
    ),
    (
        "a queue of two groups",
        {"worker_groups": {"a": {"queues": ["default"]}, "b": {"queues": ["default"]}}},
        ["'default'", "'a' and 'b'", "remove it from one"],
    ),
    (
        "a queue that no group listens on",
        {"queues": [{"name": "default"}, {"name": "x"}], "worker_groups": {"a": {"queues": ["default"]}}},
        ["['x']", "add them"],
    ),
    ("an illegal group name", {"worker_groups": {"A": {"queues": ["default"]}}}, ["'A'", "lower-case letters"]),
    (
        "a size that Fargate has not",
        {"worker_groups": {"a": {"queues": ["default"], "cpu": 256, "memory": 8192}}},
        ["cpu=256", "memory=8192", "512 to 2048"],
    ),
    (
        "fewest tasks above most",
        {"worker_groups": {"a": {"queues": ["default"], "min_tasks": 3, "max_tasks": 2}}},
        ["min_tasks=3", "max_tasks=2", "raise"],
    ),
    # tasks
    ("a task of no queue", {"tasks": {"a": {"queue": "defalt"}}}, ["tasks['a'].queue='defalt'", "mean 'default'"]),
    (
        "a task's soft limit over its queue's hard one",
        {"tasks": {"a": {"soft_limit": 1800}}},
        ["task 'a'", "soft_limit=1800", "hard_limit=1800", "raise hard_limit"],
    ),
    (
        "a task that outlives the lease of its queue",
        {"queues": [{"name": "default", "lease_seconds": 1900}], "tasks": {"a": {"hard_limit": 1900}}},
        ["lease_seconds=1900", "1900", "raise lease_seconds"],
    ),
    (
        "a task that needs more visibility than SQS has",
        {"tasks": {"a": {"hard_limit": 21_601}}},
        ["'default'", "43202 s", "43200", "Lower hard_limit"],
    ),
    ("so many prefetched messages", {"prefetch_multiplier": 24}, ["43350 s", "43200"]),
    # numbers
    ("no attempt", {"max_attempts": 0}, ["max_attempts", "greater than or equal to 1", "0"]),
    ("a negative grace", {"lease_grace_seconds": -1}, ["lease_grace_seconds", "greater than 0", "-1"]),
    ("a negative stop time", {"stop_timeout_seconds": -1}, ["stop_timeout_seconds", "-1"]),
    ("a negative slack", {"visibility_slack_seconds": -1}, ["visibility_slack_seconds", "-1"]),
    ("words for a number", {"max_attempts": "many"}, ["max_attempts", "integer", "'many'"]),
    ("an endless time-out", {"connect_timeout_seconds": float("inf")}, ["connect_timeout_seconds", "finite", "inf"]),
    ("no number", {"completed_retention_days": float("nan")}, ["completed_retention_days", "finite", "nan"]),
    ("a longer long poll than SQS has", {"wait_time_seconds": 21}, ["wait_time_seconds", "equal to 20", "21"]),
    ("more shards than are useful", {"index_shards": 65}, ["index_shards", "64", "65"]),
    ("more keys than a BatchGetItem", {"sweep_page_size": 101}, ["sweep_page_size", "100", "101"]),
    (
        "jobs that do not fit into an item",
        {"max_payload_bytes": 300_000},
        ["max_payload_bytes=300000", "max_result_bytes=100000", "lower one"],
    ),
    (
        "a worker that one lost heartbeat kills",
        {"heartbeat_seconds": 16},
        ["worker_dead_after_seconds=60", "16 s", "lower heartbeat_seconds"],
    ),
    # names and places
    ("an illegal table name", {"job_table": "my jobs"}, ["job_table", "'my jobs'"]),
    ("a short table name", {"fleet_table": "ab"}, ["fleet_table", "3 characters", "'ab'"]),
    ("one table for both", {"job_table": "one", "fleet_table": "one"}, ["job_table", "fleet_table", "'one'"]),
    (
        "an endpoint without a scheme",
        {"endpoint_url": "localhost:4566"},
        ["endpoint_url", "'localhost:4566'", "http://"],
    ),
    ("an endpoint of another kind", {"sqs_endpoint_url": "ftp://x"}, ["sqs_endpoint_url", "'ftp://x'", "http://"]),
    ("no region", {"region": ""}, ["region", "pattern"]),
    ("a log level nobody knows", {"log_level": "LOUD"}, ["log_level", "'LOUD'", "'WARNING'"]),
    ("half a policy for orphans", {"on_orphan": "maybe"}, ["on_orphan", "'maybe'", "'fail' or 'retry'"]),
]

REFUSED_QUEUES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("an unknown field", {"soft_limt": 3}, ["'soft_limt'", "did you mean 'soft_limit'"]),
    ("an empty name", {"name": ""}, ["queue name ''", "letters, digits"]),
    ("a name with a space", {"name": "a b"}, ["queue name 'a b'", "letters, digits"]),
    ("a name with a line end", {"name": "a\n"}, ["queue name 'a\\n'", "letters, digits"]),
    ("a FIFO queue", {"name": "a.fifo"}, ["queue name 'a.fifo'", "FIFO queues are not supported", "standard queue"]),
    ("a dead-letter queue's name", {"name": "a-dlq"}, ["'a-dlq'", "rename"]),
    ("a soft limit on the hard one", {"soft_limit": 10, "hard_limit": 10}, ["soft_limit=10", "hard_limit=10", "lower"]),
    ("a soft limit over the hard one", {"soft_limit": 11, "hard_limit": 10}, ["soft_limit=11", "hard_limit=10"]),
    ("no time at all", {"soft_limit": 0}, ["soft_limit", "greater than 0"]),
    ("a negative limit", {"hard_limit": -5}, ["hard_limit", "greater than 0", "-5"]),
    (
        "a lease as long as the limit",
        {"lease_seconds": 1800},
        ["lease_seconds=1800", "hard_limit=1800", "leave it out"],
    ),
    ("a factor under one", {"visibility_factor": 0.99}, ["visibility_factor", "equal to 1", "0.99"]),
    ("an endless factor", {"visibility_factor": float("inf")}, ["visibility_factor", "finite"]),
    ("a priority under the scale", {"priority": -1}, ["priority", "-1"]),
    ("a priority over the scale", {"priority": 11}, ["priority", "10", "11"]),
    ("no wait allowed", {"sla_seconds": 0}, ["sla_seconds", "greater than 0"]),
    ("no process", {"concurrency": 0}, ["concurrency", "0"]),
    ("no delivery", {"max_receive_count": 0}, ["max_receive_count", "0"]),
    ("too much visibility", {"hard_limit": 21_601}, ["'default'", "43202 s", "43200", "visibility_factor"]),
    ("a factor too high", {"visibility_factor": 24.1}, ["43380 s", "43200"]),
]


@pytest.mark.parametrize(
    ("given", "words"), [row[1:] for row in REFUSED_SETTINGS], ids=[r[0] for r in REFUSED_SETTINGS]
)
def test_settings_refuse(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**given)

    message = str(refused.value)
    assert [word for word in words if word not in message] == [], message


@pytest.mark.parametrize(("given", "words"), [row[1:] for row in REFUSED_QUEUES], ids=[r[0] for r in REFUSED_QUEUES])
def test_a_queue_refuses(given: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValidationError) as refused:
        with_queue(**given)

    message = str(refused.value)
    assert [word for word in words if word not in message] == [], message


def test_a_refusal_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="max_attempts"):
        settings(max_attempts=0)


def test_settings_do_not_change_once_built() -> None:
    built = Settings()

    with pytest.raises(ValidationError, match="frozen"):
        built.region = "eu-west-1"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        built.queues[0].hard_limit = 5  # type: ignore[misc]


# --- the environment
@pytest.mark.parametrize("name", ["JOBCLAIM_REGON", "jobclaim_regon", "JOBCLAIM_REGION_"])
def test_an_unknown_variable_asks_did_you_mean(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "eu-west-1")

    with pytest.raises(ValidationError, match=r"in the environment \(JOBCLAIM_\*\), did you mean 'region'"):
        Settings()


def test_variables_give_plain_values_lists_and_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBCLAIM_REGION", "eu-west-1")
    monkeypatch.setenv("JOBCLAIM_MAX_ATTEMPTS", "7")
    monkeypatch.setenv("JOBCLAIM_QUEUES", json.dumps([{"name": "default", "soft_limit": 5, "hard_limit": 9}]))
    monkeypatch.setenv("JOBCLAIM_TASKS", json.dumps({"a.b": {"queue": "default", "hard_limit": 20}}))
    monkeypatch.setenv("JOBCLAIM_QUEUE_URLS__default", "https://example.test/q")

    built = Settings()

    assert (built.region, built.max_attempts) == ("eu-west-1", 7)
    assert built.longest_hard_limit("default") == 20
    assert built.queue_urls == {"default": "https://example.test/q"}


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("shop.tasks", ("shop.tasks",)),
        ("shop.tasks, mail.tasks", ("shop.tasks", "mail.tasks")),
        ('["shop.tasks", "mail.tasks"]', ("shop.tasks", "mail.tasks")),
        ("", ()),
    ],
)
def test_task_modules_are_names_between_commas_or_a_list(
    monkeypatch: pytest.MonkeyPatch, text: str, modules: tuple[str, ...]
) -> None:
    monkeypatch.setenv("JOBCLAIM_TASK_MODULES", text)

    assert Settings().task_modules == modules


@pytest.mark.parametrize("field", ["queues", "tasks", "queue_urls", "task_modules"])
def test_a_variable_that_is_no_json_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setenv(f"JOBCLAIM_{field.upper()}", "[{")

    with pytest.raises(ValidationError, match=rf"{field}='\[{{' is not JSON .*; write "):
        Settings()


def test_null_is_how_the_environment_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBCLAIM_MAX_TASKS_PER_CHILD", "null")

    assert Settings().max_tasks_per_child is None


def test_an_empty_endpoint_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBCLAIM_ENDPOINT_URL", "")

    assert Settings().endpoint_url is None


@pytest.mark.parametrize("name", ["JOBCLAIM_REQUIRE_REAL", "JOBCLAIM_CACHE", "JOBCLAIM_APP"])
def test_variables_that_others_read_are_not_settings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")

    Settings()


# --- .env and pyproject.toml
def test_a_dot_env_file_is_read_and_its_other_lines_are_not_ours(folder: Path) -> None:
    (folder / ".env").write_text("AWS_PROFILE=shop\nDATABASE_URL=postgres://x\nJOBCLAIM_REGION=eu-west-1\n")

    assert Settings().region == "eu-west-1"


def test_an_unknown_line_of_a_dot_env_file_asks_did_you_mean(folder: Path) -> None:
    (folder / ".env").write_text("JOBCLAIM_REGON=eu-west-1\n")

    with pytest.raises(ValidationError, match=r"unknown field 'regon'.*did you mean 'region'"):
        Settings()


TOML = """
[tool.jobclaim]
region = "eu-west-1"

[[tool.jobclaim.queues]]
name = "default"
soft_limit = 50
hard_limit = 60

[tool.jobclaim.tasks."shop.tasks.report"]
hard_limit = 90
"""


def test_a_table_of_pyproject_toml_is_read(folder: Path) -> None:
    (folder / "pyproject.toml").write_text(TOML)

    built = Settings()

    assert built.region == "eu-west-1"
    assert built.limits("shop.tasks.report").model_dump() == {"soft": 50, "hard": 90}
    assert built.visibility_timeout("default") == 90 + 120 + 30


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[tool.jobclaim]\nregon = "x"', "unknown field 'regon'.*did you mean 'region'"),
        ("[[tool.jobclaim.queues]]\nnme = 'x'", "unknown field 'nme'.*did you mean 'name'"),
        ("[tool.jobclaim.tasks.a]\nsoft_limits = 5", "unknown field 'soft_limits'.*did you mean 'soft_limit'"),
    ],
)
def test_an_unknown_line_of_the_table_asks_did_you_mean(folder: Path, text: str, words: str) -> None:
    (folder / "pyproject.toml").write_text(text)

    with pytest.raises(ValidationError, match=words):
        Settings()


def test_the_nearer_source_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "pyproject.toml").write_text(
        '[tool.jobclaim]\nregion = "toml-1"\njob_table = "toml"\nfleet_table = "f-toml"'
    )
    (folder / ".env").write_text("JOBCLAIM_REGION=dotenv-1\nJOBCLAIM_JOB_TABLE=dotenv\nJOBCLAIM_LOG_LEVEL=ERROR")
    monkeypatch.setenv("JOBCLAIM_REGION", "env-1")
    monkeypatch.setenv("JOBCLAIM_LOG_LEVEL", "DEBUG")

    built = Settings(log_level="WARNING")

    assert (built.log_level, built.region, built.job_table, built.fleet_table) == (
        "WARNING",
        "env-1",
        "dotenv",
        "f-toml",
    )


# --- what is derived
def test_by_default_half_an_hour_of_work_gives_an_hour_of_invisibility() -> None:
    built = Settings()

    assert (built.queue("default").soft_limit, built.queue("default").hard_limit) == (1680, 1800)
    assert built.visibility_timeout("default") == 3600
    assert built.lease_seconds("default") == 1860


def test_visibility_covers_a_stop_of_the_worker_when_jobs_are_short() -> None:
    built = with_queue(soft_limit=5, hard_limit=10)

    assert built.visibility_timeout("default") == 10 + 120 + 30


def test_visibility_covers_the_prefetched_messages() -> None:
    built = settings(prefetch_multiplier=4)

    assert built.visibility_timeout("default") == 4 * 1800 + 120 + 30


@pytest.mark.parametrize(("hard", "accepted"), [(21_600, True), (21_601, False)])
def test_visibility_ends_at_what_sqs_allows(hard: int, accepted: bool) -> None:
    if accepted:
        assert with_queue(hard_limit=hard).visibility_timeout("default") == 43_200
    else:
        with pytest.raises(ValidationError, match="43202 s"):
            with_queue(hard_limit=hard)


def test_a_longer_task_lengthens_visibility_and_lease_of_its_queue_only() -> None:
    built = settings(
        queues=[{"name": "default"}, {"name": "ai"}], tasks={"shop.long": TaskSpec(queue="ai", hard_limit=7200)}
    )

    assert (built.visibility_timeout("ai"), built.lease_seconds("ai")) == (14_400, 7260)
    assert (built.visibility_timeout("default"), built.lease_seconds("default")) == (3600, 1860)


def test_a_fixed_lease_gives_way_to_a_longer_limit_of_the_code() -> None:
    built = with_queue(lease_seconds=1900)

    assert built.lease_seconds("default") == 1900
    assert built.lease_seconds("default", hard_limit=60) == 1900
    assert built.lease_seconds("default", hard_limit=5000) == 5060


def test_the_recovery_queue_is_there_without_being_asked_for() -> None:
    assert Settings().queue_names == ("default", "recovery")
    assert settings(recovery_queue="sweep").queue_names == ("default", "sweep")


def test_a_recovery_queue_of_the_users_own_is_taken_as_it_is() -> None:
    own = QueueSpec(name="recovery", soft_limit=10, hard_limit=20)

    assert settings(queues=(QueueSpec(name="default"), own)).queue("recovery") == own


def test_an_unknown_queue_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"queue 'recovry' is not among the queues .*did you mean 'recovery'"):
        Settings().queue("recovry")


@pytest.mark.parametrize(("dispatches", "delay"), [(1, 120), (2, 240), (3, 480), (12, 43_200), (10_000, 43_200)])
def test_a_repeated_dispatch_waits_longer_each_time(dispatches: int, delay: int) -> None:
    assert Settings().redispatch_delay("default", dispatches) == delay


def test_a_queue_that_may_wait_long_is_not_redispatched_early() -> None:
    assert with_queue(sla_seconds=300).redispatch_delay("default") == 600


def test_each_service_has_its_own_endpoint_or_the_common_one() -> None:
    built = Settings(endpoint_url="http://127.0.0.1:1", sqs_endpoint_url="http://127.0.0.1:2")

    assert (built.endpoint("sqs"), built.endpoint("dynamodb")) == ("http://127.0.0.1:2", "http://127.0.0.1:1")
    assert Settings().endpoint("sqs") is None


# --- worker groups
def test_without_worker_groups_one_group_listens_on_every_queue_but_the_one_of_recovery() -> None:
    built = settings(queues=[{"name": "default"}, {"name": "email"}])
    assert {name: group.queues for name, group in built.groups.items()} == {"workers": ("default", "email")}


def test_worker_groups_can_be_given_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBCLAIM_WORKER_GROUPS", '{"big": {"queues": ["default"], "cpu": 2048, "memory": 8192}}')
    assert Settings().groups["big"].cpu == 2048


def test_a_queue_is_late_after_its_sla_and_its_longest_hard_limit() -> None:
    built = settings(
        queues=[{"name": "default", "sla_seconds": 5, "soft_limit": 5, "hard_limit": 10}],
        tasks={"slow": {"queue": "default", "soft_limit": 20, "hard_limit": 30}},
    )
    assert built.age_alarm_seconds("default") == 35


# --- secrets
PASSWORD = "hunter2hunter2"
LEAKS = [
    ("a password for a table", json.dumps({"ann": PASSWORD})),
    ("a missing brace", json.dumps({"ann": {"password": PASSWORD}})[:-1]),
    ("no hash", json.dumps({"ann": {"password": PASSWORD}})),
    ("a misspelled field", json.dumps({"ann": {"passwrd": PASSWORD}})),
    ("a list", json.dumps([PASSWORD])),
    ("no table at all", PASSWORD),
]


@pytest.mark.parametrize("text", [row[1] for row in LEAKS], ids=[row[0] for row in LEAKS])
@pytest.mark.parametrize("beside", [{}, {"default_queue": "defualt"}, {"regon": "x"}])
def test_no_refusal_quotes_a_password(monkeypatch: pytest.MonkeyPatch, text: str, beside: dict[str, Any]) -> None:
    monkeypatch.setenv("JOBCLAIM_DASHBOARD_USERS", text)

    with pytest.raises(ValidationError) as refused:
        Settings(**beside)

    said = "".join(traceback.format_exception(refused.value)) + repr(refused.value.errors())
    assert PASSWORD not in said
    assert "dashboard_users" in said or "regon" in said


def test_a_user_built_in_code_is_refused_without_its_password() -> None:
    with pytest.raises(ValidationError, match="hash-password") as refused:
        DashboardUser(password=PASSWORD)

    assert PASSWORD not in str(refused.value)


def test_a_check_of_the_whole_quotes_no_secret_beside_the_fault() -> None:
    with pytest.raises(ValidationError, match="did you mean 'region'") as refused:
        Settings(regon="x", dashboard_users={"ann": {"password": PASSWORD}})  # type: ignore[call-arg]

    assert PASSWORD not in str(refused.value)


def test_the_url_of_a_fifo_queue_is_refused() -> None:
    with pytest.raises(ValueError, match="FIFO queues are not supported"):
        Settings(queue_urls={"default": "https://sqs.eu-west-1.amazonaws.com/1/mail.fifo"})


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_REGION": "eu-central-1", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-central-1"),
        ({"AWS_REGION": "eu-central-1", "JOBCLAIM_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_REGION": ""}, "us-east-1"),
    ],
)
def test_the_region_is_ours_then_that_of_awss_own_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], region: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "JOBCLAIM_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().region == region
    assert Settings(region="sa-east-1").region == "sa-east-1"
