"""The folder of pid, log and command files is this user's own, or nothing is read from it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery
from celery.signals import beat_init

import jobclaim
from jobclaim.cli.commands.worker.local import LocalWorker
from jobclaim.settings import Settings
from jobclaim.specs import run_folder
from jobclaim.workers.telemetry import metrics

ANOTHER_USER = 4_242


def a_link(folder: Path) -> None:
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to(folder.parent / "elsewhere")


def a_dangling_link(folder: Path) -> None:
    folder.symlink_to(folder.parent / "nowhere")


def a_file(folder: Path) -> None:
    folder.write_text("")


def of_another_user(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a folder to another user needs root")
    folder.mkdir(mode=0o700)
    os.chown(folder, ANOTHER_USER, ANOTHER_USER)


def open_to_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def open_to_the_group(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o770)


TRAPS = [a_link, a_dangling_link, a_file, of_another_user, open_to_all, open_to_the_group]


def by_claim(folder: Path) -> None:
    run_folder.claim(folder)


def by_start(folder: Path) -> None:
    LocalWorker("mail", folder).start(["/bin/false"], {}, timeout=5)


def by_restart(folder: Path) -> None:
    LocalWorker("mail", folder).last_argv()


def by_metrics(folder: Path) -> None:
    metrics.prepare(Settings(run_dir=str(folder), telemetry="prometheus"))


@pytest.mark.parametrize("use", [by_claim, by_start, by_restart, by_metrics])
@pytest.mark.parametrize("trap", TRAPS)
def test_a_folder_that_others_prepared_is_refused_with_the_reason_and_the_remedy(
    trap: Callable[[Path], None], use: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    trap(folder)
    with pytest.raises(PermissionError, match=r"run folder .*run .*JOBCLAIM_RUN_DIR"):
        use(folder)


def test_a_folder_that_cannot_be_created_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match=r"run folder .*run cannot be created .*JOBCLAIM_RUN_DIR"):
        run_folder.claim(tmp_path / "file" / "run")


def test_a_beat_without_a_folder_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = Celery("beat", set_as_current=False)
    jobclaim.install(app, Settings(run_dir=str(tmp_path / "file" / "run")))
    with pytest.raises(SystemExit, match=r"beat cannot start: .*JOBCLAIM_RUN_DIR"):
        beat_init.send(sender=app.Beat().Service(app))


def test_a_command_that_another_user_left_is_not_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    open_to_all(folder)
    (folder / "mail.json").write_text(json.dumps(["/bin/sh", "-c", "touch /tmp/pwned"]))
    with pytest.raises(PermissionError):
        LocalWorker("mail", folder).last_argv()


def test_a_log_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    folder = run_folder.claim(tmp_path / "run")
    (folder / "mail.log").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        LocalWorker("mail", folder).start(["/bin/false"], {}, timeout=5)
    assert not target.exists()


def test_a_folder_of_our_own_is_made_for_us_alone_and_taken_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    assert run_folder.claim(folder) == folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert run_folder.claim(folder) == folder


def test_a_folder_that_systemd_made_readable_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o755)
    assert run_folder.claim(folder) == folder


def test_the_default_is_never_in_a_shared_temporary_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert Settings().run_folder == Path("/home/ann/.local/state/jobclaim")
