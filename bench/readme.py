"""Report, README and picture from bench/results/peers.json: ``python -m bench.readme``; ``--check`` compares."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from bench import picture
from bench.peers import figures, report
from bench.stub import ROOT

RESULT: Final = ROOT / "bench" / "results" / "peers.json"
README: Final = ROOT / "README.md"
PICTURE: Final = ROOT / "docs" / "img" / "bench.svg"
BEGIN: Final = "<!-- bench: written by `python -m bench.readme` -->"
END: Final = "<!-- /bench -->"


def section(result: Mapping[str, Any]) -> str:
    """Write what stands between the markers."""
    rows = figures.rows(result)
    about = result["about"]
    return "\n".join(
        [
            "![Faults, price and speed of jobclaim and its peers](docs/img/bench.svg)",
            "",
            report.faults_table(rows),
            "",
            report.numbers_table(result, rows),
            "",
            (
                f"{about['jobs']:,} no-op jobs, concurrency {about['processes']}, medians of {about['rounds']} rounds "
                f"on {about['cores']} cores; `python -m bench.peers --write` makes it again, [the whole report]"
                "(bench/results/peers.md) has the setting, the prices and what each cent buys."
            ),
        ]
    )


def written(text: str, result: Mapping[str, Any]) -> str:
    """Give the README with its section made anew.

    Raises
    ------
    ValueError
        The markers are not there.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"README.md lacks the lines {BEGIN!r} and {END!r}; put them where the benchmark belongs")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{section(result)}\n\n{END}{after}"


def main() -> int:
    """Write or compare the README's section and the picture."""
    result = json.loads(RESULT.read_text())
    wanted = {
        README: written(README.read_text(), result),
        PICTURE: picture.draw(result),
        RESULT.with_suffix(".md"): report.markdown(result),
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            sys.stdout.write(f"{path.relative_to(ROOT)} is not what {RESULT.name} gives; run python -m bench.readme\n")
        return 1 if stale else 0
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path])
    return 0


if __name__ == "__main__":
    sys.exit(main())
