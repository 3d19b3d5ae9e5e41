"""The board that a worker shares with its children, and the gate on it."""

from __future__ import annotations

import os
import time

import pytest

from jobclaim.jobs.protocol.claims import new_token
from jobclaim.workers.process import board, gate


@pytest.fixture
def own_board(monkeypatch: pytest.MonkeyPatch) -> board.Board:
    monkeypatch.setattr(board, "_board", None)
    return board.put_up()


def test_a_child_sees_what_its_parent_notes_after_the_fork(own_board: board.Board) -> None:
    token = new_token()
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            before = own_board.is_marked(token) or gate.is_open()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os._exit(0 if not before and own_board.is_marked(token) and gate.is_open() else 1)
        finally:
            os._exit(2)
    os.read(ready[0], 1)
    own_board.mark(token)
    gate.open(gate.now() + 60)
    os.write(go[1], b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_marks_are_kept_apart_and_forgotten_one_by_one(own_board: board.Board) -> None:
    tokens = [new_token() for _ in range(50)]
    assert all(own_board.mark(token) for token in tokens)
    own_board.unmark(tokens[7])
    assert [own_board.is_marked(token) for token in tokens] == [n != 7 for n in range(50)]


def test_the_seam_between_two_tokens_is_no_token(own_board: board.Board) -> None:
    own_board.mark("0123456789abcdef")
    own_board.mark("fedcba9876543210")
    assert not own_board.is_marked("89abcdeffedcba98")


def test_a_full_board_refuses_and_takes_again_when_room_is_made(own_board: board.Board) -> None:
    slots = (board.SIZE - board.HEAD) // board.SLOT
    tokens = [new_token() for _ in range(slots)]
    assert all(own_board.mark(token) for token in tokens)
    late = new_token()
    assert not own_board.mark(late)
    own_board.unmark(tokens[0])
    assert own_board.mark(late)


@pytest.mark.parametrize("text", ["", "short", "x" * 17])
def test_what_is_no_token_is_never_marked(own_board: board.Board, text: str) -> None:
    assert not own_board.mark(text)
    assert not own_board.is_marked(text)


def test_the_gate_is_closed_until_the_first_heartbeat_and_closes_by_itself(own_board: board.Board) -> None:
    assert not gate.is_open()
    gate.open(gate.now() + 0.05)
    assert gate.is_open()
    deadline = time.monotonic() + 5
    while gate.is_open() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not gate.is_open()
    gate.open(gate.now() + 60)
    gate.close()
    assert not gate.is_open()


def test_outside_a_worker_the_gate_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "_board", None)
    gate.close()
    assert gate.is_open()
