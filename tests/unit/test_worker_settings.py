"""Numbers that a worker's life is derived from."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import Mock

import pytest
from celery import signals

from jobclaim.cli.commands.worker.local import LocalWorker
from jobclaim.settings import Settings
from jobclaim.workers import create_app
from jobclaim.workers.process.alive import Alive


@pytest.mark.parametrize(("stop", "drain"), [(120, 110), (40, 30), (8, 6), (0, 0)])
def test_a_stop_keeps_time_to_give_back_what_does_not_end(stop: int, drain: float) -> None:
    assert Settings(stop_timeout_seconds=stop).drain_seconds == drain


def test_a_job_claimed_at_the_last_moment_is_in_a_heartbeat_before_the_worker_counts_as_dead() -> None:
    settings = Settings(heartbeat_seconds=7, worker_dead_after_seconds=30)
    told_at = settings.claims_stop_after_seconds + settings.heartbeat_seconds
    assert told_at + settings.heartbeat_seconds == settings.worker_dead_after_seconds  # for clocks and the network


def test_a_lost_workers_jobs_are_settled_within_75_seconds_by_default() -> None:
    settings = Settings()
    assert settings.worker_dead_after_seconds + settings.recovery_interval_seconds < 75


def test_a_cancel_takes_effect_within_15_seconds_by_default() -> None:
    settings = Settings()
    assert settings.heartbeat_seconds + settings.cancel_grace_seconds + 1 < 15


def test_a_worker_that_has_ended_is_not_healthy(tmp_path: Path) -> None:
    app = create_app(Settings(run_dir=str(tmp_path), worker_name="mail"))
    worker = Mock(app=app)
    Alive(worker).start(worker)
    local = LocalWorker("mail", tmp_path)
    assert local.health().ok
    signals.worker_shutdown.send(sender=worker)
    assert (local.health().ok, "does not run" in local.health().why) == (False, True)


def test_files_of_a_worker_carry_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings(run_dir=str(tmp_path), worker_name="mail").liveness_file == tmp_path / "mail.alive"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert Settings().run_folder == tmp_path / "jobclaim"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert Settings().run_folder == tmp_path / "state" / "jobclaim"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert Settings().run_folder == tmp_path / "home" / ".local" / "state" / "jobclaim"


def test_a_workers_name_is_no_path() -> None:
    with pytest.raises(ValueError, match="worker_name"):
        Settings(worker_name="../mail")
