"""``python -m tests.fuzz --minutes 60 [--seed N]``."""

from __future__ import annotations

import argparse
import logging
import secrets
import sys

from tests.fuzz.run import run


def main() -> int:
    """Run, and print what broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sys.stdout.write(f"seed {asked.seed}\n")
    sys.stdout.flush()
    made = run(asked.seed, seconds=asked.minutes * 60)
    for line in made.broken:
        sys.stdout.write(line.encode("ascii", "backslashreplace").decode() + "\n")
    total = f"{sum(made.cases.values())} cases {dict(made.cases)}"
    sys.stdout.write(f"{total}, memory +{made.grown_mb:.0f} MB, {len(made.broken)} broken\n")
    return 1 if made.broken else 0


if __name__ == "__main__":
    sys.exit(main())
