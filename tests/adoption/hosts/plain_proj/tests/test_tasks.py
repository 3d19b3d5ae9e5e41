"""Tests of the tasks."""

import pytest
from celery import chain, group
from proj.celery import app
from proj.tasks import add, divide, mul, note


def test_tasks_calculate():
    assert add(2, 3) == 5
    assert mul.delay(6, 7).get() == 42


def test_a_canvas_runs():
    assert chain(add.s(1, 2), mul.s(3))().get() == 9
    assert group(add.s(n, n) for n in range(3))().get() == [0, 2, 4]


def test_a_division_is_noted(notes):
    assert divide.delay(6, 3).get() == 2
    with pytest.raises(ZeroDivisionError):
        divide.delay(6, 0).get()
    assert notes.read_text().splitlines() == [
        "proj.tasks.divide succeeded: 2.0",
        "proj.tasks.divide failed: division by zero",
    ]


def test_a_note_is_written(notes):
    note.apply(args=["hello"])
    assert notes.read_text() == "hello\n"


def test_the_configuration_is_the_projects():
    assert app.amqp.router.route({}, "proj.tasks.mul")["queue"].name == "math"
    assert str(app.timezone) == "Asia/Tokyo"
    assert "every-so-often" in app.conf.beat_schedule
