"""`jobclaim verify`: every promise is put to the test and holds, and a build that breaks one is found out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobclaim.verify import deployment as deployment_module
from jobclaim.verify.checks import evaluate
from jobclaim.verify.deployment import Endpoints, temporary_deployment
from jobclaim.verify.plan import SHORT, Call, FaultKind, Plan, ScheduledFault
from jobclaim.verify.run import run
from tests.support.endpoints import Endpoint
from tests.support.stack import ROOT
from tests.support.volume import THOROUGH, volume
from tests.support.warm import WarmProcess

pytestmark = pytest.mark.real
SEED = 20261121


@pytest.mark.thorough
def test_no_promise_breaks_while_everything_else_does(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    """The shortest run, for every change, and almost two minutes of faults in `make thorough`.

    Takes 70 s: faults are injected for half a minute, and recovery has to finish what they hit.
    """
    urls = ["--dynamodb-url", dynamodb_local.endpoint_url, "--sqs-url", elasticmq.endpoint_url]
    size = ["--minutes", "1.9" if THOROUGH else "0.45", "--jobs", str(volume(1_040))]
    asked = [*size, "--seed", str(SEED), "--keep", str(tmp_path), "-o", "json"]
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

    Takes 35 s: the checks run once everything has ended.
    """
    monkeypatch.setattr(deployment_module, "ManagedProcess", WarmProcess)
    calls = tuple(Call(0.02 * n, "quick", n) for n in range(30))
    plan = Plan(SEED, calls, (ScheduledFault(0.0, FaultKind.COPY_MESSAGES, 4.0, 1.0),), jobs=len(calls))
    endpoints = Endpoints(dynamodb_local.endpoint_url, elasticmq.endpoint_url)
    environment = {**os.environ, "BROKEN_BUILD": "claims twice", "PYTHONPATH": str(ROOT)}
    with temporary_deployment(
        endpoints, tmp_path, SHORT, environment=environment, modules=["tests.support.broken_build"]
    ) as deployment:
        evidence, _ = run(deployment, plan, 4.0, SHORT, print)
    states = {rule.code: rule.state for rule in evaluate(evidence)}
    assert states["one-body"] == "broken"
    assert states["faults"] == "held"
