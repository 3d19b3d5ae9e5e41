"""The stop of a worker as its supervisor carries it out, on a pool that is closing already."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from celery.worker import state

from jobclaim.settings import Settings
from jobclaim.workers.process.cancels import GENTLE_SECONDS
from jobclaim.workers.process.shutdown import IDLE_SECONDS, Shutdown


def test_idle_children_have_time_to_end_by_themselves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "should_stop", 0)
    children = mock.Mock()
    children.left.return_value = [7]
    app = SimpleNamespace(jobclaim=SimpleNamespace(settings=Settings(run_dir=str(tmp_path))))
    shutdown = Shutdown(app, mock.Mock(), children, mock.Mock(), mock.Mock())
    shutdown.supervise([], 1_000.0)
    shutdown.supervise([], 1_000.0 + IDLE_SECONDS - 0.1)
    assert not children.end_now.called, "they may have counts and traces to write"
    shutdown.supervise([], 1_000.0 + IDLE_SECONDS)
    shutdown.supervise([], 1_000.0 + IDLE_SECONDS + GENTLE_SECONDS)
    assert [call.kwargs["gently"] for call in children.end_now.call_args_list] == [True, False]
