"""Tasks run where they are called, and notes go to a file of the test."""

import pytest
from proj.celery import app


app.conf.task_always_eager = True


@pytest.fixture(autouse=True)
def notes(monkeypatch, tmp_path):
    """Give the file of notes."""
    monkeypatch.setenv("PROJ_NOTES", str(tmp_path / "notes.txt"))
    return tmp_path / "notes.txt"
