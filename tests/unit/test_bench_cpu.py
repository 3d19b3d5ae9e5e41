"""CPU time that the benchmarks read from /proc."""

from __future__ import annotations

import os
import subprocess
import sys

from bench import cpu


def test_cpu_of_children_that_have_ended_is_counted() -> None:
    before = cpu.seconds_of_children(os.getpid())
    program = "import time\nwhile time.process_time() < 0.3: pass"

    subprocess.run([sys.executable, "-c", program], check=True)

    assert cpu.seconds_of_children(os.getpid()) - before >= 0.25
