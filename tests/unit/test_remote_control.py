"""`app.control`, `celery inspect`, `status` and `control`: answered from worker records, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from celery import shared_task
from celery.bin.celery import celery
from celery.worker.control import Panel
from click.testing import CliRunner

from jobclaim.fleet.registered import RegisteredTasks, digest_of, own
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness
from jobclaim.workers import JobTask
from jobclaim.workers.answers import ANSWERS
from jobclaim.workers.control import REFUSED, NoRemoteControl


@shared_task(base=JobTask, name="remote.work", rate_limit="10/m")
def work(number: int, *, customer: str = "") -> int:
    """Work."""
    return number


WEB, MAIL, TWIN = "web-1:10:aaaa", "mail-1:20:bbbb", "mail-1:21:cccc"
NODES = {WEB: "celery@web-1", MAIL: "celery@mail-1", TWIN: "celery@mail-1"}


class World:
    """Three living workers, two of which share their name, and one that is lost; the first runs a job."""

    def __init__(self, harness: Harness) -> None:
        self.harness, self.control = harness, harness.app.control
        self.records = FleetRecords.of(harness.repo)
        now = harness.clock()
        self.job = harness.job(work.delay(7, customer="acme"))
        tasks = own(harness.app.tasks)
        RegisteredTasks.of(harness.repo).write(tasks)
        for worker_id, node in {**NODES, "old-1:5:dddd": "celery@old-1"}.items():
            lost = worker_id.startswith("old")
            self.records.beat(
                WorkerRecord(
                    worker_id=worker_id,
                    seen_at=now - 3_600_000 if lost else now,
                    started_at=now - 60_000,
                    queues=("default",),
                    jobs=(self.job.job_id,) if worker_id == WEB else (),
                    version="9.9",
                    host=worker_id.split(":")[0],
                    pid=int(worker_id.split(":")[1]),
                    concurrency=4,
                    node=node,
                    tasks="" if worker_id == TWIN else digest_of(tasks),
                )
            )
        harness.repo.claim_job(self.job.job_id, worker_id=WEB)


@pytest.fixture
def world(jobclaim: Harness) -> World:
    return World(jobclaim)


def celery_cli(*arguments: str) -> Any:
    """Type a command."""
    return CliRunner().invoke(celery, ["-A", "jobclaim", *arguments])


ALIVE = {"celery@web-1", MAIL, TWIN}


def test_every_living_worker_answers_under_its_own_name(world: World) -> None:
    inspect = world.control.inspect()
    for command in set(ANSWERS) - {"query_task"}:
        answers = getattr(inspect, command)()
        assert set(answers) == ALIVE, command
        told = celery_cli("inspect", command, "--json")
        assert told.exit_code == 0, told.output
        assert json.loads(told.output) == json.loads(json.dumps(answers)), command


def test_ping_and_status_have_celerys_shape(world: World) -> None:
    assert world.control.ping() == [{node: {"ok": "pong"}} for node in world.control.inspect().ping()]
    told = celery_cli("status")
    assert (told.exit_code, told.output.count("OK"), "3 nodes online" in told.output) == (0, 3, True)


@pytest.mark.parametrize("destination", ["celery@web-1", WEB, [WEB]])
def test_a_destination_is_a_name_or_an_id(world: World, destination: Any) -> None:
    named = destination if isinstance(destination, list) else [destination]
    assert world.control.inspect(destination=named).ping() == {"celery@web-1": {"ok": "pong"}}
    assert world.control.inspect(pattern="celery@*", matcher="glob").ping() == {"celery@web-1": {"ok": "pong"}}


def test_nobody_alive_is_no_answer_and_a_failed_status(world: World) -> None:
    world.harness.travel(3_600)
    assert world.control.ping() == []
    assert world.control.inspect().active() is None
    for arguments in (("status",), ("inspect", "ping"), ("inspect", "active", "-d", "celery@nowhere")):
        told = celery_cli(*arguments)
        assert (told.exit_code, "No nodes replied" in told.output) == (69, True)


def test_active_describes_the_running_jobs_as_celery_describes_tasks(world: World) -> None:
    answers = world.control.inspect().active()
    [told] = answers.pop("celery@web-1")
    assert list(answers.values()) == [[], []]
    expected = {"id": world.job.job_id, "name": "remote.work", "type": "remote.work", "acknowledged": True}
    assert {key: told[key] for key in expected} == expected
    assert (told["args"], told["kwargs"]) == ([7], {"customer": "acme"})
    assert told["hostname"] == "celery@web-1"
    assert told["delivery_info"]["routing_key"] == "default"
    assert told["time_start"] == pytest.approx(world.harness.clock() / 1000, abs=60)
    world.harness.repo.update_status(world.job.job_id, "COMPLETED")
    assert world.control.inspect().active()["celery@web-1"] == []


def test_query_task_finds_what_runs_and_sends_on_to_show_for_all_else(world: World) -> None:
    answers = world.control.inspect().query_task(world.job.job_id, "other")
    assert answers["celery@web-1"][world.job.job_id][0] == "active"
    with pytest.raises(NoRemoteControl, match="jobclaim show"):
        world.control.inspect().query_task("other")


def test_registered_names_each_workers_tasks_with_the_attributes_that_are_asked_for(world: World) -> None:
    answers = world.control.inspect().registered("rate_limit", "max_retries")
    assert "remote.work [rate_limit=10/m max_retries=3]" in answers["celery@web-1"]
    assert not any(line.startswith("celery.") for line in answers["celery@web-1"])
    assert "has not written the names of its tasks" in answers[TWIN]["error"]


def test_stats_queues_report_and_revoked_tell_what_the_record_knows(world: World) -> None:
    inspect = world.control.inspect(destination=[WEB])
    stats = inspect.stats()["celery@web-1"]
    assert (stats["pid"], stats["pool"], stats["broker"]) == (10, {"max-concurrency": 4}, {"transport": "sqs"})
    assert 60 <= stats["uptime"] <= 600
    [queue] = inspect.active_queues()["celery@web-1"]
    assert (queue["name"], queue["routing_key"]) == ("default", "default")
    assert "jobclaim:9.9" in inspect.report()["celery@web-1"]["ok"]
    assert inspect.revoked() == {"celery@web-1": []}
    assert world.control.revoke(world.job.job_id) == {world.job.job_id: "requested"}
    assert inspect.revoked() == {"celery@web-1": [world.job.job_id]}


@pytest.mark.parametrize("command", [("revoke",), ("terminate", "SIGTERM")])
def test_control_revoke_cancels_waiting_and_running_jobs(world: World, command: tuple[str, ...]) -> None:
    waiting = work.delay(1).id
    told = celery_cli("control", *command, waiting, world.job.job_id)
    assert told.exit_code == 0, told.output
    assert f"{waiting}: cancelled" in told.output
    assert f"{world.job.job_id}: requested" in told.output
    assert world.harness.job(waiting).status is JobStatus.CANCELLED


def test_control_revoke_says_so_where_a_job_is_unknown(world: World) -> None:
    told = celery_cli("control", "revoke", "nothing", "--json")
    assert json.loads(told.output) == [{"jobclaim": {"error": "nothing: unknown"}}]


def test_a_result_revokes_and_terminates(world: World) -> None:
    waiting = work.delay(1)
    waiting.revoke(terminate=True, signal="SIGKILL", wait=True, timeout=1)
    assert waiting.state == "REVOKED"
    assert world.control.terminate(world.job.job_id) == {world.job.job_id: "requested"}


def test_shutdown_asks_the_workers_that_are_named(world: World) -> None:
    told = celery_cli("control", "shutdown", "-d", "celery@web-1")
    assert (told.exit_code, "stops after" in told.output) == (0, True)
    asked = {record.worker_id for record in world.records.all() if record.drain}
    assert asked == {WEB}
    with pytest.raises(NoRemoteControl, match=r"celery@nowhere.*live workers: celery@web-1, mail-1:20:bbbb"):
        world.control.shutdown(destination=["celery@nowhere"])
    world.control.shutdown()
    assert {record.worker_id for record in world.records.all() if record.drain} == set(NODES)


ARGUMENTS = {
    "add_consumer": ("reports",),
    "autoscale": ("10", "3"),
    "cancel_consumer": ("reports",),
    "rate_limit": ("remote.work", "1/s"),
    "time_limit": ("remote.work", "1", "2"),
    "pool_grow": ("2",),
    "revoke_by_stamped_headers": ("tenant=acme",),
}


@pytest.mark.parametrize("command", sorted(REFUSED))
def test_a_command_that_sqs_cannot_carry_is_refused_with_what_to_do(jobclaim_app: Any, command: str) -> None:
    kind = Panel.meta[command].type
    if Panel.meta[command].visible:
        told = celery_cli(kind, command, *ARGUMENTS.get(command, ()))
        assert (told.exit_code, REFUSED[command] in told.output.replace("\n", " ")) == (69, True), told.output
    with pytest.raises(NoRemoteControl, match=command):
        jobclaim_app.control.broadcast(command, reply=True)


def test_every_command_of_celery_is_answered_or_refused_by_name() -> None:
    ours = {*ANSWERS, *REFUSED, "revoke", "terminate", "shutdown"}
    assert set(Panel.meta) - ours == set()


def test_a_command_of_the_hosts_own_is_refused_too(jobclaim_app: Any) -> None:
    with pytest.raises(NoRemoteControl, match=r"'pinng'.*did you mean 'ping'"):
        jobclaim_app.control.broadcast("pinng", reply=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda control: control.rate_limit("remote.work", "1/s"),
        lambda control: control.time_limit("remote.work", soft=1, hard=2),
        lambda control: control.enable_events(),
        lambda control: control.pool_grow(2),
        lambda control: control.pool_restart(),
        lambda control: control.autoscale(4, 2),
        lambda control: control.add_consumer("reports"),
        lambda control: control.cancel_consumer("reports"),
        lambda control: control.heartbeat(),
        lambda control: control.revoke_by_stamped_headers({"tenant": "acme"}),
        lambda control: control.inspect().conf(),
        lambda control: control.inspect().scheduled(),
        lambda control: control.inspect().reserved(),
        lambda control: control.inspect().memdump(),
        lambda control: control.inspect().objgraph(),
        lambda control: control.inspect().clock(),
    ],
)
def test_a_method_that_would_do_nothing_raises(jobclaim_app: Any, call: Any) -> None:
    with pytest.raises(NoRemoteControl):
        call(jobclaim_app.control)
