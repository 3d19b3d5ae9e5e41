"""Reports: totals of a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from celery import shared_task

from examples.files import existing_file, write_json
from jobclaim.workers import JobTask


def totals(rows: Iterable[Mapping[str, str]], *, group_by: str, value: str) -> dict[str, Any]:
    """Add up one column per group of another, exactly.

    Returns
    -------
    dict
        ``rows``, ``total``, and ``groups`` with the sum of each, largest first; sums are text, because floats round.

    Raises
    ------
    ValueError
        A row lacks a column, or its value is not a number; the message names the row.
    """
    sums: dict[str, Decimal] = {}
    count = 0
    for count, row in enumerate(rows, start=1):
        for column in (group_by, value):
            if row.get(column) is None:
                raise ValueError(f"row {count} has no column {column!r}; its columns are {sorted(row)}")
        sums[row[group_by]] = sums.get(row[group_by], Decimal(0)) + _number(row[value], count, value)
    ordered = sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "rows": count,
        "total": str(sum(sums.values(), Decimal(0))),
        "groups": {group: str(amount) for group, amount in ordered},
    }


@shared_task(base=JobTask, bind=True, name="examples.generate_analytics_report", on_orphan="retry")
def generate_analytics_report(self: JobTask, source: str, group_by: str, value: str) -> dict[str, Any]:
    """Write the totals of column ``value`` per ``group_by`` of a CSV file into ``<source>.report.json`` beside it."""
    table = existing_file(source)
    with table.open(encoding="utf-8", newline="") as file:
        report = totals(csv.DictReader(file), group_by=group_by, value=value)
    output = Path(f"{table}.report.json")
    write_json(output, report)
    return {"output": str(output), "rows": report["rows"], "total": report["total"]}


def _number(text: str, row: int, column: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError(f"row {row}: {column}={text!r} is not a number; correct the file")
    return number
