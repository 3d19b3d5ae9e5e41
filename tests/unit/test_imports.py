"""Importing any module of jobclaim changes nothing outside itself."""

from __future__ import annotations

import json
import subprocess
import sys

CODE = """
import json, logging, os, pkgutil, signal, sys, threading, warnings
from importlib import import_module
import celery.signals
import click, structlog
from celery import _state
import kombu.transport
import jobclaim

# the demo and the bodies of verify are a user's project: their tasks are @shared_task
PROGRAMS = ("jobclaim.__main__", "jobclaim.cli.demo", "jobclaim.verify.tasks")

def state():
    return {
        "signals": {n: len(s.receivers or ()) for n, s in vars(celery.signals).items() if hasattr(s, "receivers")},
        "apps": len(_state._apps), "default app": repr(_state.default_app),
        "current app": repr(_state._tls.current_app), "finalizers": len(_state._on_app_finalizers),
        "transports": dict(kombu.transport.TRANSPORT_ALIASES), "environment": dict(os.environ),
        "threads": sorted(t.name for t in threading.enumerate()),
        "process signals": {str(n): repr(signal.getsignal(n)) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)},
        "root handlers": len(logging.getLogger().handlers), "root level": logging.getLogger().level,
        "structlog": structlog.is_configured(), "path": list(sys.path), "filters": len(warnings.filters),
    }

names = [m.name for m in pkgutil.walk_packages(jobclaim.__path__, "jobclaim.") if not m.name.startswith(PROGRAMS)]
# what others change when they are imported is not ours
import boto3, moto, prometheus_client, opentelemetry.sdk.trace, jinja2, starlette, uvicorn, pytest
before = state()
changed = {}
for name in names:
    import_module(name)
    after = state()
    if after != before:
        differ = [key for key in after if after[key] != before[key]]
        changed[name] = [[key, repr(before[key])[:200], repr(after[key])[:200]] for key in differ]
        before = after
print(json.dumps({"modules": len(names), "changed": changed}))
"""


def test_importing_every_module_changes_nothing_outside_it() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["modules"] > 250
    assert found["changed"] == {}
