"""Tests of the dashboard."""

import pytest
from jobs.models import Application

from dashboard.models import Figure
from dashboard.tasks import refresh_figures


@pytest.mark.django_db
def test_the_applications_are_counted(client):
    """A count is stored and shown."""
    Application.objects.create(name="Ada")
    assert refresh_figures.delay().get() == 1
    assert Figure.objects.get().applications == 1
    assert client.get("/dashboard/figures/").json() == {"figures": 1}


@pytest.mark.django_db
def test_a_refresh_is_accepted(client):
    """A refresh answers with the task's id."""
    answer = client.post("/dashboard/figures/refresh/")
    assert answer.status_code == 202
    assert answer.json()["task"]
