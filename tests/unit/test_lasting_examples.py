"""The examples of docs/durable.md, run."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from examples import imports
from examples.approvals import pay_invoice
from examples.imports import import_rows
from jobclaim.jobs import JobStatus
from jobclaim.testing import Harness


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_an_import_that_is_cut_off_goes_on_where_it_was(
    jobclaim: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, database = tmp_path / "rows.csv", tmp_path / "rows.sqlite"
    source.write_text("n\n" + "".join(f"{n}\n" for n in range(1, 10_501)))
    whole = imports.batches

    def cut_off(path: Path, start: int) -> Any:
        for done, batch in whole(path, start):
            yield done, batch
            if not start and done == 3_000:
                raise MemoryError

    monkeypatch.setattr(imports, "batches", cut_off)
    jobclaim.use(progress_seconds=0)
    result = import_rows.delay(str(source), str(database))
    jobclaim.drain()
    assert jobclaim.job(result).status is JobStatus.FAILED
    assert jobclaim.job(result).checkpoint == 3_000

    jobclaim.retry(result.id)
    jobclaim.drain()

    assert result.get(timeout=1) == {"rows": 10_500, "began_at": 3_000}
    with closing(sqlite3.connect(database)) as connection:
        found = connection.execute("SELECT count(*), min(value), max(number) FROM rows").fetchone()
    assert found == (10_500, "1", 10_500)


@pytest.mark.parametrize(
    ("answer", "state", "paid"),
    [({"approved": True, "by": "ann"}, "paid", 1), ({"approved": False, "by": "ann"}, "declined", 0), (None, "", 0)],
)
def test_a_payment_waits_for_a_person_and_is_made_once(
    jobclaim: Harness, tmp_path: Path, answer: Any, state: str, paid: int
) -> None:
    outbox, ledger = tmp_path / "outbox", tmp_path / "ledger"
    result = pay_invoice.delay("i-7", "9.90", str(outbox), str(ledger))
    jobclaim.drain()
    (asked,) = lines(outbox)
    assert result.state == "WAITING"

    if answer is None:
        jobclaim.travel(3 * 86_400 - 300)
        jobclaim.recover()
        jobclaim.travel(301)
    else:
        jobclaim.repo.resume(asked["job_id"], asked["name"], answer, token=asked["token"])
    jobclaim.drain()

    assert result.get(timeout=1)["state"] == (state or "nobody answered")
    assert (len(lines(outbox)), len(lines(ledger))) == (1, paid)
