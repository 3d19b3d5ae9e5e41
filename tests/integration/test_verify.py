"""`jobclaim verify`: every promise is put to the test and holds, and a build that breaks one is found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobclaim.verify import stage as stage_module
from jobclaim.verify.plan import SHORT, Call, Kind, Plan, Strike
from jobclaim.verify.promises import judge
from jobclaim.verify.run import run
from jobclaim.verify.stage import Endpoints, staged
from tests.support.endpoints import Endpoint
from tests.support.stack import ROOT
from tests.support.warm import WarmProcess

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
SEED = 20261121


def test_no_promise_breaks_while_everything_else_does(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    """The short run, for every change; from a terminal it runs as long as one likes.

    Takes 70 s: faults strike for half a minute, and what they struck has to be settled by recovery.
    """
    urls = ["--dynamodb-url", dynamodb_local.endpoint_url, "--sqs-url", elasticmq.endpoint_url]
    asked = ["--minutes", "0.45", "--jobs", "260", "--seed", str(SEED), "--keep", str(tmp_path), "-o", "json"]
    ran = subprocess.run(
        [sys.executable, "-m", "jobclaim", "verify", *urls, *asked],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    found = json.loads(ran.stdout)
    others = {each["check"]: each for each in found["promises"] if each["state"] != "held"}
    assert not others, json.dumps(others, indent=1)
    assert (found["held"], ran.returncode) == (True, 0)


def test_a_build_that_lets_copies_of_a_message_claim_again_is_found_out(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant is in `tests.support.broken_build`: its claim does not ask whether the job is PENDING.

    Takes 35 s: the judge looks once everything has come to rest.
    """
    monkeypatch.setattr(stage_module, "ManagedProcess", WarmProcess)
    calls = tuple(Call(0.02 * n, "quick", n) for n in range(30))
    plan = Plan(SEED, calls, (Strike(0.0, Kind.COPY_MESSAGES, 4.0, 1.0),), jobs=len(calls))
    endpoints = Endpoints(dynamodb_local.endpoint_url, elasticmq.endpoint_url)
    environment = {**os.environ, "BROKEN_BUILD": "claims twice", "PYTHONPATH": str(ROOT)}
    with staged(endpoints, tmp_path, SHORT, environment=environment, modules=["tests.support.broken_build"]) as stage:
        evidence, _ = run(stage, plan, 4.0, SHORT, print)
    states = {rule.code: rule.state for rule in judge(evidence)}
    assert states["one-body"] == "broken"
    assert states["faults"] == "held"
