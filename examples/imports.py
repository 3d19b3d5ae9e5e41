"""Imports: a CSV file of any length into SQLite. A new attempt continues where an interrupted one stopped."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from celery import shared_task

from examples.files import existing_file
from jobclaim.workers import JobTask

BATCH = 1_000
"""Rows that one transaction writes."""


def count_lines(path: Path) -> int:
    """Count the data rows of a CSV file without reading it into memory; its first line names the columns."""
    with path.open("rb") as file:
        return max(0, sum(1 for _ in file) - 1)


def batches(path: Path, start: int) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield batches of rows from number ``start`` on, each with the number of rows read so far."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        done, wanted = start, islice(rows, start, None)
        while batch := list(islice(wanted, BATCH)):
            done += len(batch)
            yield done, batch


@shared_task(base=JobTask, bind=True, name="examples.import_rows", on_orphan="retry")
def import_rows(self: JobTask, source: str, database: str) -> dict[str, Any]:
    """Write the rows of a CSV file into the table ``rows`` of a SQLite file.

    The checkpoint is the number of written rows. If its process is lost, the last checkpoint is a few seconds old: the
    rows after it are written again under the same numbers, so no row is duplicated.
    """
    table = existing_file(source)
    total = self.step("count", count_lines, table)
    start = self.request.job.checkpoint or 0
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS rows (number INTEGER PRIMARY KEY, value TEXT NOT NULL)")
        for done, batch in batches(table, start):
            numbered = enumerate(batch, start=done - len(batch) + 1)
            with connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO rows VALUES (?, ?)", [(number, ",".join(row)) for number, row in numbered]
                )
            self.progress(done, total, checkpoint=done)
    return {"rows": total, "began_at": start}
