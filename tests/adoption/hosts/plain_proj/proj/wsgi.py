"""The project's web process, without a framework: ``gunicorn proj.wsgi``."""

import json
from urllib.parse import parse_qsl

from proj.celery import app
from proj.tasks import divide, mul


def application(environ, start_response):
    """Start the task of the path with the numbers of the query; show one by its id."""
    path = environ["PATH_INFO"].strip("/")
    numbers = [int(value) for name, value in parse_qsl(environ["QUERY_STRING"]) if name in ("x", "y")]
    started = {"divide": divide, "mul": mul}.get(path)
    answer = {"task": started.delay(*numbers).id} if started else {"state": app.AsyncResult(path).state}
    start_response("202 Accepted" if started else "200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
