"""The project's tasks."""

import proj.logs  # noqa: F401 - connects its handler
from proj.base import Audited
from proj.celery import app
from proj.notes import write


@app.task
def add(x, y):
    """Add."""
    return x + y


@app.task
def mul(x, y):
    """Multiply."""
    write(f"{x} * {y} = {x * y}")
    return x * y


@app.task
def note(line):
    """Write a line down."""
    write(line)


@app.task(base=Audited)
def divide(x, y):
    """Divide, and have it noted."""
    return x / y
