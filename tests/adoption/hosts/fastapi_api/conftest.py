"""Tasks run where they are called, and files go to a folder of the test."""

import pytest
from settings import settings
from workers.celery_app import app


app.conf.task_always_eager = True


@pytest.fixture(autouse=True)
def storage(monkeypatch, tmp_path):
    """Give a storage of its own."""
    monkeypatch.setattr(settings, "storage", tmp_path)
    return tmp_path
