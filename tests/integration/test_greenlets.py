"""Where gevent has replaced Python's sockets: a request of one greenlet lets the others make theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter

import pytest

from tests.support.fake_aws import environment, fake_aws
from tests.support.stack import ROOT

GREENLETS = 20
AT_ONCE = ("PutItem", "SendMessage")
"""What each of them asks for; what the process asks for once, such as to write its counts at its end, is not held."""
PATCH = "from gevent import monkey; monkey.patch_all()"
PROGRAM = """
{first}
from celery import Celery
import jobclaim

app = Celery("greenlets")
app.conf.broker_pool_limit = {greenlets}
jobclaim.install(app)

@app.task(base=jobclaim.JobTask, name="note")
def note(): ...

{then}
import gevent
started = [gevent.spawn(note.delay) for _ in range({greenlets})]
gevent.joinall(started, raise_error=True)
assert len({{one.value.id for one in started}}) == {greenlets}
"""


class Gathering:
    """Holds answers back until so many requests of one operation wait for theirs at the same time."""

    def __init__(self) -> None:
        self.most: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._given_up = False

    def __call__(self, operation: str) -> None:
        if operation not in AT_ONCE:
            return
        with self._changed:
            self._waiting[operation] += 1
            self.most[operation] = max(self.most[operation], self._waiting[operation])
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._given_up or self.most[operation] >= GREENLETS, timeout=30):
                self._given_up = True
            self._waiting[operation] -= 1


@pytest.mark.parametrize(
    ("first", "then"), [(PATCH, ""), ("", PATCH)], ids=["patched first", "preloaded, then patched"]
)
def test_greenlets_submit_at_the_same_time(first: str, then: str) -> None:
    with fake_aws() as server:
        server.before_answer = gathering = Gathering()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(first=first, then=then, greenlets=GREENLETS)],
            cwd=ROOT,
            env={**os.environ, **environment(server)},
            timeout=100,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert server.count("PutItem") == server.count("SendMessage") == GREENLETS
    assert (gathering.most["PutItem"], gathering.most["SendMessage"]) == (GREENLETS, GREENLETS)
