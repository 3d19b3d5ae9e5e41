"""The short run, for every change; ``python -m tests.chaos`` runs as long as one likes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.console import Console

from tests.chaos import report
from tests.chaos.plan import SHORT, draw
from tests.chaos.run import run, staged
from tests.chaos.verdict import judge
from tests.support.endpoints import Endpoint

SECONDS = 26.0
JOBS = 260
SEED = 20261121


@pytest.mark.real
@pytest.mark.timeout(300)
def test_no_promise_breaks_while_everything_else_does(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path
) -> None:
    plan = draw(SEED, seconds=SECONDS, jobs=JOBS, scale=SHORT)
    with staged(dynamodb_local, elasticmq, tmp_path, SHORT) as stage:
        evidence, figures = run(stage, plan, SECONDS, SHORT, print)
    rules = judge(evidence)
    report.show(Console(file=sys.stdout, width=160), evidence, figures, rules)
    assert {rule.name: rule.finding() for rule in rules if not rule.held} == {}
