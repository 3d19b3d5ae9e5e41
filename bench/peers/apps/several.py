"""``python several.py COUNT ARGUMENTS``: run Python with these arguments in several processes, until asked to end."""

from __future__ import annotations

import signal
import subprocess
import sys


def main(count: int, arguments: list[str]) -> int:
    """Start them, pass on the signal to end, and wait."""
    processes = [subprocess.Popen([sys.executable, *arguments]) for _ in range(count)]

    def end(*_: object) -> None:
        for process in processes:
            process.terminate()

    signal.signal(signal.SIGTERM, end)
    return max(process.wait() for process in processes)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
