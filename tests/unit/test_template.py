"""The template as a function of the settings: its sums, what it refuses, and `jobclaim template --check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from jobclaim.cli.commands.template import command
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.session import Session
from jobclaim.infra.errors import TemplateError
from jobclaim.infra.fragment import FragmentError, fill
from jobclaim.infra.references import logical_id
from jobclaim.infra.render import render
from jobclaim.infra.signals import SIGNALS
from jobclaim.infra.sums import backlog_target, visibility_timeout
from jobclaim.jobs import events
from jobclaim.settings import QueueSpec, ScheduleSpec, Settings, WorkerGroup

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: this repository's own settings play no part."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, settings: Settings | None = None) -> Any:
    session = Session()
    session.__dict__["settings"] = settings or Settings()
    return CliRunner().invoke(command, arguments, obj=session)


# --- sums
def test_the_visibility_timeout_is_shown_with_both_sums_it_was_chosen_from() -> None:
    found = visibility_timeout(Settings(), "default")
    assert found.value == 3600
    waits = "1 prefetched x 1800 longest hard limit + 120 stop + 30 slack"
    assert found.why == f"3600 = 2 x 1800 longest hard limit (not less than {waits})"


def test_short_limits_are_carried_by_the_stop_and_the_slack() -> None:
    short = Settings(queues=(QueueSpec(name="default", soft_limit=5, hard_limit=10),))
    found = visibility_timeout(short, "default")
    assert found.why.startswith("160 = 1 prefetched x 10 longest hard limit + 120 stop + 30 slack")


def test_a_task_may_own_what_its_processes_start_within_the_sla() -> None:
    built = Settings(queues=(QueueSpec(name="default", soft_limit=20, hard_limit=30, sla_seconds=60),))
    assert backlog_target(built, "default", concurrency=4).value == 12
    assert backlog_target(Settings(), "default", concurrency=4).value == 4


# --- fragments
def test_a_fragment_with_a_value_nobody_gives_is_refused_by_name() -> None:
    with pytest.raises(FragmentError, match=r"filter\.yaml uses a value .*'Metric' is undefined"):
        fill("filter", {"pattern": "", "value": ""})


def test_a_block_takes_the_indentation_of_its_line_and_an_empty_one_takes_the_line_away() -> None:
    rendered = render(Settings())
    assert "      AssumeRolePolicyDocument:\n        Version:" in rendered
    assert "@{" not in rendered
    assert "Condition: RecoverByBeat" in rendered


def test_text_of_the_settings_that_looks_like_a_value_stays_as_it_is() -> None:
    rendered = render(Settings(schedules={"a": ScheduleSpec(task="t", cron="0 1 * * *", args=("@{group}{% if x %}",))}))
    assert "@{group}{% if x %}" in rendered


# --- what is refused
def test_two_queues_that_cloudformation_could_not_tell_apart_are_refused() -> None:
    with pytest.raises(TemplateError, match="'high_prio' and 'high-prio' would both be called 'HighPrio'"):
        render(Settings(queues=(QueueSpec(name="default"), QueueSpec(name="high_prio"), QueueSpec(name="high-prio"))))


def test_a_stop_that_fargate_would_cut_short_is_refused() -> None:
    with pytest.raises(TemplateError, match=r"stop_timeout_seconds=121.*lower it to 120"):
        render(Settings(stop_timeout_seconds=121))


def test_a_group_cannot_take_the_name_of_a_part() -> None:
    with pytest.raises(TemplateError, match="worker group 'beat'"):
        render(Settings(worker_groups={"beat": WorkerGroup(queues=("default",))}))


@pytest.mark.parametrize(
    ("name", "logical"), [("default", "Default"), ("high_priority", "HighPriority"), ("a-b", "AB")]
)
def test_logical_ids_are_letters_and_digits(name: str, logical: str) -> None:
    assert logical_id(name) == logical


# --- environments
def outputs(built: Settings) -> dict[str, Any]:
    """The template's outputs, CloudFormation's own tags taken off."""

    class Loader(yaml.CSafeLoader):
        pass

    def plain(loader: yaml.CSafeLoader, _: str, node: yaml.Node) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        assert isinstance(node, yaml.MappingNode)
        return loader.construct_mapping(node, deep=True)

    Loader.add_multi_constructor("!", plain)
    found: dict[str, Any] = yaml.load(render(built), Loader)["Outputs"]  # noqa: S506 - a SafeLoader
    return found


def test_the_output_environment_is_a_dotenv_file_that_the_settings_read(folder: Path) -> None:
    text = outputs(Settings())["Environment"]["Value"]
    stack = {"AWS::Region": "eu-west-1", "JobTable": "their-jobs", "FleetTable": "their-fleet", "QueuePrefix": "their-"}
    for name, value in stack.items():
        text = text.replace(f"${{{name}}}", value)
    (folder / ".env").write_text(text)
    found = Settings()
    assert [found.region, found.job_table, found.fleet_table, found.queue_prefix] == list(stack.values())


def test_neither_the_dashboards_users_nor_a_developers_endpoint_reach_the_template() -> None:
    stored = "scrypt$16384$8$1$" + "s" * 22 + "$" + "k" * 43
    own: dict[str, Any] = {
        "s3_endpoint_url": "http://localhost:9000",
        "sqs_endpoint_url": "http://localhost:9001",
        "dashboard_users": {"ann": {"password": stored}},
        "dashboard_hosts": ("jobs.example.com",),
        "dashboard_results": True,
    }
    assert render(Settings(**own)) == render(Settings())


# --- events
def test_every_metric_filter_is_over_an_event_and_a_field_that_are_logged() -> None:
    known = {event.code: event.fields for event in events.EVENTS.values()}
    for signal in SIGNALS:
        assert signal.event in known, f"{signal.metric} counts {signal.event!r}, which nobody logs"
        assert signal.field is None or signal.field in known[signal.event]


# --- jobclaim template
def test_the_committed_template_is_what_the_settings_say() -> None:
    assert (ROOT / "template.yaml").read_text() == render(Settings()), "run `jobclaim template`"


def test_check_is_content_with_what_was_just_rendered(folder: Path) -> None:
    assert run().exit_code == ExitCode.OK
    assert run("--check").exit_code == ExitCode.OK


def test_a_changed_time_limit_makes_the_template_stale_until_it_is_rendered_again(folder: Path) -> None:
    run()
    changed = Settings(queues=(QueueSpec(name="default", soft_limit=3000, hard_limit=3600),))
    before = (folder / "template.yaml").read_text()
    stale = run("--check", settings=changed)
    assert stale.exit_code == ExitCode.CHECK_FAILED
    assert "+      VisibilityTimeout: 7200" in stale.output
    assert (folder / "template.yaml").read_text() == before
    run(settings=changed)
    assert run("--check", settings=changed).exit_code == ExitCode.OK


def test_check_fails_where_there_is_no_template(folder: Path) -> None:
    missing = run("--check")
    assert missing.exit_code == ExitCode.CHECK_FAILED
    assert not (folder / "template.yaml").exists()
