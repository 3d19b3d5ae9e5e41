"""The helpers that the process tests trust: nothing outlives its block, and a wait ends with a reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.clock import ManualClock
from tests.support.processes import ManagedProcess, ProcessDied
from tests.support.waiting import wait_until

PARENT_AND_CHILD = """
import os, signal, time
{prelude}
child = os.fork()
if child:
    print("child", child, flush=True)
while True:
    time.sleep(60)
"""
IGNORE_SIGTERM = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def python(program: str, log_dir: Path) -> ManagedProcess:
    return ManagedProcess("program", [sys.executable, "-c", program], log_dir=log_dir)


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("prelude", ["", IGNORE_SIGTERM], ids=["obedient", "ignores SIGTERM"])
def test_parent_and_child_end_with_the_block(tmp_path: Path, prelude: str) -> None:
    process = python(PARENT_AND_CHILD.format(prelude=prelude), tmp_path)
    with process:
        child = int(process.wait_for_line(r"^child \d+", 20).split()[1])
        assert is_alive(process.pid)
        assert is_alive(child)
        process.stop(timeout=1)
    wait_until(lambda: not is_alive(child), 30, "the child is gone")
    assert not process.running


def test_children_of_a_killed_parent_end_with_the_block(tmp_path: Path) -> None:
    with python(PARENT_AND_CHILD.format(prelude=""), tmp_path) as process:
        child = int(process.wait_for_line(r"^child \d+", 20).split()[1])
        process.send(signal.SIGKILL)
        assert process.wait_for_exit(10) == -signal.SIGKILL
        assert is_alive(child)
    wait_until(lambda: not is_alive(child), 30, "the child is gone")


def test_waiting_for_a_line_ends_when_the_process_does(tmp_path: Path) -> None:
    with (
        python("print('last words'); raise SystemExit(3)", tmp_path) as process,
        pytest.raises(ProcessDied, match=r"ended with 3(?s:.*)last words"),
    ):
        process.wait_for_line("never written", 20)


def test_a_paused_process_can_still_be_ended(tmp_path: Path) -> None:
    with python("import time; print('up', flush=True); time.sleep(600)", tmp_path) as process:
        process.wait_for_line("up", 20)
        process.pause()
        assert process.stop(timeout=30) == -signal.SIGTERM


def test_only_new_lines_count_after_a_mark(tmp_path: Path) -> None:
    with python("print('up', flush=True)", tmp_path) as process:
        process.wait_for_line("up", 20)
        process.wait_for_exit(20)
        with pytest.raises(ProcessDied):
            process.wait_for_line("up", 5, after=len(process.log()))


def test_a_vain_wait_says_what_it_waited_for() -> None:
    with pytest.raises(TimeoutError, match=r"waited 0\.1 s in vain: the job is COMPLETED"):
        wait_until(lambda: False, 0.1, "the job is COMPLETED")


def test_the_manual_clock_moves_by_hand_and_forward_only(clock: ManualClock) -> None:
    before = clock()
    clock.advance(1.5)
    assert clock() - before == 1500
    with pytest.raises(ValueError, match="forward only"):
        clock.advance(-1)


def test_no_test_sees_the_callers_aws_account() -> None:
    assert os.environ["AWS_ACCESS_KEY_ID"] == "jobclaimtest"
    assert os.environ["AWS_EC2_METADATA_DISABLED"] == "true"
    assert "AWS_PROFILE" not in os.environ


WHAT_IT_IS = """
import json, os, signal, sys
print(json.dumps({
    "arguments": sys.argv, "environment": dict(os.environ), "folder": os.getcwd(), "path": sys.path,
    "name": __name__, "parent": os.getppid(), "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
    "input": sys.stdin.read(), "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "tests": [name for name in sys.modules if name.split(".")[0] == "tests"],
}))
"""


@pytest.mark.parametrize(
    "words", [["-c", WHAT_IT_IS], ["-m", "what_it_is"], ["what_it_is.py"]], ids=["-c", "-m", "file"]
)
def test_a_forked_program_is_what_an_interpreter_would_start(tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "what_it_is.py").write_text(WHAT_IT_IS)
    argv = [sys.executable, *words, "one", "two"]
    env = {"LC_CTYPE": "C.UTF-8", "PATH": os.environ["PATH"], "PYTHONPATH": "/a:/b"}
    started = subprocess.run(
        argv, env=env, cwd=tmp_path, input="typed", text=True, capture_output=True, check=True, start_new_session=True
    )
    forked = warm.run(argv, env=env, cwd=tmp_path, answer="typed")
    assert (forked.returncode, forked.stderr) == (0, "")
    assert json.loads(forked.stdout) == json.loads(started.stdout)


@pytest.mark.parametrize(
    ("program", "code"),
    [("pass", 0), ("raise SystemExit(3)", 3), ("1 / 0", 1), ("import os; os.kill(os.getpid(), 9)", -9)],
)
def test_a_forked_program_ends_as_it_would(program: str, code: int) -> None:
    ended = warm.run([sys.executable, "-c", program])
    assert (ended.returncode, "ZeroDivisionError" in ended.stderr) == (code, program == "1 / 0")


def test_a_forked_command_that_goes_on_too_long_is_killed() -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        warm.run([sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"], timeout=5)
    assert str(caught.value.stdout) == "up\n"
