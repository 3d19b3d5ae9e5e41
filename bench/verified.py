"""The last long run of ``jobclaim verify`` in docs/guarantees.md: ``python -m bench.verified``; ``--check`` compares.

The run itself writes its report: ``jobclaim verify --minutes 20 --jobs 20000 --report bench/results/verify.md``.
"""

from __future__ import annotations

import sys
from typing import Final

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
    if BEGIN not in page or END not in page:
        raise ValueError(f"docs/guarantees.md lacks the lines {BEGIN!r} and {END!r}; put them where the run belongs")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{section(report)}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Write or compare the section."""
    page = PAGE.read_text()
    wanted = written(page, REPORT.read_text())
    if wanted == page:
        return 0
    if "--check" in sys.argv[1:]:
        sys.stdout.write("docs/guarantees.md is not what bench/results/verify.md gives; run python -m bench.verified\n")
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
