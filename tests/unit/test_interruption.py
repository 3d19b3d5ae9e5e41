"""The end of an EC2 instance: what its metadata say, how long a worker then has, and what systemd is told."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber
from click.testing import CliRunner

from jobclaim.cli.commands.worker.interruption import watch_interruption
from jobclaim.cli.exits import ExitCode
from jobclaim.cli.session import Session
from jobclaim.infra.clients import client
from jobclaim.infra.metadata import (
    POLL_SECONDS,
    SPOT_NOTICE_SECONDS,
    Metadata,
    MetadataError,
    Notice,
    spot_notice,
    stop_deadline,
    wait_for_notice,
)
from jobclaim.settings import Settings
from jobclaim.specs import stop_deadline as deadline_file
from jobclaim.specs import systemd
from tests.support.imds import INSTANCE, MetadataService

ROOT = Path(__file__).parents[2]
NOON = 1_800_000_000.0


@pytest.fixture
def imds() -> Iterator[MetadataService]:
    with MetadataService() as made:
        yield made


# --- notices
def test_an_instance_in_service_has_no_notice(imds: MetadataService) -> None:
    assert Metadata(imds.url).notice() is None
    assert imds.asked == ["spot/instance-action", "autoscaling/target-lifecycle-state"]


def test_an_instance_of_no_group_has_no_notice(imds: MetadataService) -> None:
    del imds.paths["autoscaling/target-lifecycle-state"]
    assert Metadata(imds.url).notice() is None


def test_a_spot_notice_comes_before_a_scale_in(imds: MetadataService) -> None:
    imds.scale_in()
    assert Metadata(imds.url).notice() == Notice("autoscaling")
    imds.interrupt(NOON)
    assert Metadata(imds.url).notice() == Notice("spot", NOON)


@pytest.mark.parametrize("action", ["stop", "hibernate", "terminate"])
def test_every_kind_of_interruption_ends_the_worker(action: str) -> None:
    assert spot_notice(json.dumps({"action": action, "time": "2027-01-15T08:00:00Z"})) == Notice("spot", NOON)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"time": null}', '{"time": "soon"}', '{"time": "2027-01-15T08:00:00"}']
)
def test_a_notice_whose_time_cannot_be_read_is_a_notice(text: str) -> None:
    assert spot_notice(text) == Notice("spot", None)


def test_a_token_that_has_expired_is_replaced(imds: MetadataService) -> None:
    metadata = Metadata(imds.url)
    assert metadata.instance_id() == INSTANCE
    imds.token = "second"
    assert metadata.instance_id() == INSTANCE


def test_what_is_no_metadata_service_is_refused_by_name() -> None:
    with pytest.raises(MetadataError, match="'file:///etc' is not an http address"):
        Metadata("file:///etc")
    with socket.socket() as bound:  # bound and not listening: refuses at once
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(MetadataError, match=r"does not answer.*is this an EC2 instance"):
            Metadata(f"http://127.0.0.1:{bound.getsockname()[1]}").notice()


def test_the_watch_looks_until_there_is_a_notice_or_it_is_asked_to_end() -> None:
    looks = iter([None, None, Notice("spot")])
    pauses = iter([False, False])
    assert wait_for_notice(lambda: next(looks), lambda: next(pauses)) == Notice("spot")
    assert wait_for_notice(lambda: None, lambda: True) is None


# --- how long the worker has
@pytest.mark.parametrize(
    ("notice", "until"),
    [
        (Notice("spot", NOON + 90), NOON + 90),
        (Notice("spot"), NOON + SPOT_NOTICE_SECONDS),
        (Notice("autoscaling"), NOON + 1830),
    ],
    ids=["spot", "spot without a time", "scale-in"],
)
def test_a_worker_has_what_the_notice_leaves(notice: Notice, until: float) -> None:
    assert stop_deadline(notice, NOON, 1830) == until


@pytest.mark.parametrize(
    ("deadline", "seconds"),
    [(None, 110.0), (NOON + 60, 50.0), (NOON + 1830, 1820.0), (NOON + 4, 0.0), (NOON - 100, 0.0)],
)
def test_jobs_may_run_until_the_rest_of_the_time_is_needed_to_release_them(
    deadline: float | None, seconds: float
) -> None:
    assert deadline_file.drain_seconds(deadline, NOON, usual=110.0, reserved=10.0) == seconds


def test_a_spot_notice_leaves_time_for_the_usual_drain() -> None:
    assert POLL_SECONDS + Settings().drain_seconds + 5 < SPOT_NOTICE_SECONDS


def test_a_deadline_is_read_as_written_and_never_through_a_link(tmp_path: Path) -> None:
    path, other = deadline_file.path_of(tmp_path, "mail"), tmp_path / "other"
    other.write_text("kept")
    path.symlink_to(other)
    deadline_file.write(path, NOON)
    deadline_file.write(path, NOON + 1)
    assert (deadline_file.read(path), other.read_text()) == (NOON + 1, "kept")
    path.write_text("rubbish")
    assert deadline_file.read(path) is None
    assert deadline_file.read(tmp_path / "none") is None


# --- the command
@pytest.fixture
def session(tmp_path: Path) -> Session:
    made = Session()
    made.__dict__["settings"] = Settings(run_dir=str(tmp_path / "run"))
    return made


def watch(session: Session, imds: MetadataService, *arguments: str) -> Any:
    words = ("mail", "--metadata-url", imds.url, "--every", "1", *arguments)
    return CliRunner().invoke(watch_interruption, words, obj=session)


def records(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_on_a_notice_the_command_is_run_with_the_deadline_set(
    session: Session, imds: MetadataService, tmp_path: Path
) -> None:
    imds.scale_in()
    folder = session.settings.run_folder
    folder.mkdir(parents=True, exist_ok=True)
    copied = f"import shutil; shutil.copy({str(folder / 'mail.stop-by')!r}, {str(tmp_path / 'seen')!r})"
    before = time.time()
    result = watch(session, imds, "--within", "30m", "--", sys.executable, "-c", copied)
    assert result.exit_code == ExitCode.OK, result.output
    assert 1790 <= float((tmp_path / "seen").read_text()) - before <= 1860
    assert [row["state"] for row in records(result)] == ["noticed", "stopped"]
    assert records(result)[0]["by"] == "autoscaling"


def test_a_command_that_fails_is_an_error_so_that_systemd_runs_it_again(
    session: Session, imds: MetadataService
) -> None:
    imds.interrupt(NOON)
    result = watch(session, imds, "--", sys.executable, "-c", "raise SystemExit(3)")
    assert result.exit_code == ExitCode.ERROR
    assert "ended with 3" in result.stderr


def test_a_command_that_does_not_exist_is_named(session: Session, imds: MetadataService) -> None:
    imds.interrupt(NOON)
    result = watch(session, imds, "--", "no-such-program", "stop")
    assert result.exit_code == ExitCode.ERROR
    assert "'no-such-program' cannot be run (No such file or directory), so the worker still runs" in result.stderr


def test_the_unit_stops_the_worker_of_its_name(
    session: Session, imds: MetadataService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own command line: the worker's name is left out there, and the command after the dashes is not the name."""
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/asked\n')
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    unit = (ROOT / "deploy/systemd/jobclaim-interruption@.service").read_text()
    (line,) = re.findall(r"^ExecStart=\S+ worker watch-interruption (.*)$", unit, re.MULTILINE)
    options = f"--within=120s --metadata-url={imds.url} --every=1"
    words = line.replace("$OPTIONS", options).replace("%i", "web").split()
    imds.interrupt(NOON)
    result = CliRunner().invoke(watch_interruption, words, obj=session)
    assert result.exit_code == ExitCode.OK, result.output
    assert {row["worker"] for row in records(result)} == {session.settings.worker_name}
    assert (tmp_path / "asked").read_text() == "stop jobclaim-worker@web.service\n"


def test_without_a_worker_there_is_nothing_to_stop(session: Session, imds: MetadataService) -> None:
    imds.interrupt(NOON)
    assert [row["state"] for row in records(watch(session, imds))] == ["noticed", "stopped"]


@pytest.mark.parametrize("option", ["--group", "--hook"])
def test_a_group_and_its_hook_belong_together(session: Session, imds: MetadataService, option: str) -> None:
    result = watch(session, imds, option, "web")
    assert result.exit_code == ExitCode.USAGE
    assert "--group and --hook belong together" in result.stderr


@pytest.fixture
def autoscaling(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """AWS's client, whose requests are checked against the service's model and answered here."""
    made = client(session.settings, "autoscaling")
    monkeypatch.setattr("jobclaim.infra.clients.client", lambda *_: made)
    with Stubber(made) as stubbed:
        yield stubbed


def test_the_group_is_told_to_go_on_when_the_worker_has_stopped(
    session: Session, imds: MetadataService, autoscaling: Stubber
) -> None:
    imds.scale_in()
    wanted = {
        "AutoScalingGroupName": "web",
        "LifecycleHookName": "drain",
        "InstanceId": INSTANCE,
        "LifecycleActionResult": "CONTINUE",
    }
    autoscaling.add_response("complete_lifecycle_action", {}, wanted)
    result = watch(session, imds, "--group", "web", "--hook", "drain")
    assert records(result)[-1] == {"state": "released", "instance": INSTANCE}
    autoscaling.assert_no_pending_responses()


def test_a_group_that_cannot_be_told_is_an_error(session: Session, imds: MetadataService, autoscaling: Stubber) -> None:
    imds.scale_in()
    autoscaling.add_client_error("complete_lifecycle_action", "AccessDenied")
    result = watch(session, imds, "--group", "web", "--hook", "drain")
    assert result.exit_code == ExitCode.ERROR
    assert "hook 'drain' was not completed, so group 'web' waits until it times out" in result.stderr


# --- systemd
def test_states_reach_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert systemd.notify(systemd.READY) is False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        assert systemd.notify(systemd.READY) is True
        assert manager.recv(100) == b"READY=1"


def test_a_manager_that_is_gone_does_not_end_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert systemd.notify(systemd.ALIVE) is False


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("")  # Linux picks a free abstract name
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + manager.getsockname()[1:].decode())
        assert systemd.notify(systemd.STOPPING) is True
        assert manager.recv(100) == b"STOPPING=1"
