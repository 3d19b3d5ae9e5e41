"""The last long run of ``jobclaim verify`` in docs/guarantees.md: ``python -m bench.verified``; ``--check`` compares.

The run itself writes its report: ``jobclaim verify --minutes 20 --jobs 20000 --report bench/results/verify.md``.
"""

from __future__ import annotations

import sys
from typing import Final

from bench.sections import replaced, write_or_compare
from bench.stub import ROOT

REPORT: Final = ROOT / "bench" / "results" / "verify.md"
PAGE: Final = ROOT / "docs" / "guarantees.md"
BEGIN: Final = "<!-- verify: written by `python -m bench.verified` -->"
END: Final = "<!-- /verify -->"


def section(report: str) -> str:
    """Give the report's command, its summary and its table of promises, without the figures that follow.

    Raises
    ------
    ValueError
        It is not a report of ``jobclaim verify``.
    """
    title, found, rest = report.partition("\n")
    verdict, figures, _ = rest.partition("\n## ")
    if not (title.startswith("# ") and found and figures and "| promise |" in verdict):
        raise ValueError("this is not a report of jobclaim verify; write it with --report bench/results/verify.md")
    return verdict.strip()


def written(page: str, report: str) -> str:
    """Return the page with its section rewritten.

    Raises
    ------
    ValueError
        The markers are missing, or the report is not one.
    """
    return replaced(page, BEGIN, END, section(report), name="docs/guarantees.md", what="run")


def main() -> int:
    """Write or compare the section."""
    return write_or_compare({PAGE: written(PAGE.read_text(), REPORT.read_text())}, REPORT, "bench.verified")


if __name__ == "__main__":
    sys.exit(main())
