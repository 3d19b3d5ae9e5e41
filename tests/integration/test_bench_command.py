"""`jobclaim bench` on real endpoints: the units that DynamoDB reports are those that we promise."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.endpoints import Endpoint
from tests.support.stack import ROOT, deployed


@pytest.mark.real
@pytest.mark.parametrize(("listed", "units"), [(False, 5.0), (True, 6.0)], ids=["plain", "completed jobs listed"])
def test_a_job_costs_the_write_units_that_we_promise(
    dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path: Path, listed: bool, units: float
) -> None:
    with deployed(dynamodb_local, elasticmq, tmp_path, index_completed=listed) as stack:
        ran = subprocess.run(
            [sys.executable, "-m", "jobclaim", "bench", "--jobs", "40", "--yes", "-o", "json"],
            env=stack.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        record = json.loads(ran.stdout)
        assert record["write_units_per_job"] == units
        assert record["read_units_per_job"] * 40 <= 1  # what is paused, read once
        assert record["requests_per_job"] <= 4.5
        assert record["dollars_per_million"] <= units * 0.625 + 0.9
        assert stack.repo.table.client().scan(TableName=stack.settings.job_table)["Count"] == 0
