"""What a worker shares with its children: the board of cancelled attempts, the gate; and its begin and end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from jobclaim.jobs.protocol.claims import new_token
from jobclaim.workers.state import board, worker
from jobclaim.workers.state.held import NotedClaim
from jobclaim.workers.state.worker import Worker
from tests.support.waiting import wait_until


@pytest.fixture
def own_board() -> board.Board:
    return board.Board()


@pytest.fixture
def own_worker() -> Iterator[Worker]:
    yield worker.begin()
    worker.end()


def test_a_child_sees_what_its_parent_notes_after_the_fork(own_worker: Worker) -> None:
    token = new_token()
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            before = own_worker.is_cancelled(token) or own_worker.may_claim()
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            os._exit(0 if not before and own_worker.is_cancelled(token) and own_worker.may_claim() else 1)
        finally:
            os._exit(2)
    os.read(ready[0], 1)
    own_worker.mark_cancelled(token)
    own_worker.let_claim(worker.now() + 60)
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


def test_the_gate_is_closed_until_the_first_heartbeat_and_closes_by_itself(own_worker: Worker) -> None:
    assert not own_worker.may_claim()
    own_worker.let_claim(worker.now() + 60)
    assert own_worker.may_claim()
    own_worker.let_claim(worker.now() + 0.05)
    wait_until(lambda: not own_worker.may_claim(), 30, "the gate has closed")
    own_worker.let_claim(worker.now() + 60)
    own_worker.let_claim(0)
    assert not own_worker.may_claim()


def test_a_worker_that_has_ended_leaves_the_process_as_it_was_before(own_worker: Worker) -> None:
    token = new_token()
    assert own_worker.mark_cancelled(token)
    assert worker.current().is_cancelled(token)
    worker.end()
    outside = worker.current()
    outside.let_claim(0)
    assert outside.may_claim()
    assert not outside.mark_cancelled(token)
    assert not outside.is_cancelled(token)
    assert outside.owner is None
    assert outside.worker_id != own_worker.worker_id
    assert worker.current() is outside


def test_a_mark_is_removed_with_its_claim(own_worker: Worker) -> None:
    token = new_token()
    assert own_worker.mark_cancelled(token)
    own_worker.unmark(token)
    assert not own_worker.is_cancelled(token)


def test_claims_of_bodies_are_known_until_they_end_or_their_child_is_lost(own_worker: Worker) -> None:
    claims = [NotedClaim(f"job-{number}", new_token()) for number in range(3)]
    deliveries = ["of two", "of two", "of one"]
    for delivery, claim in zip(deliveries, claims, strict=True):
        own_worker.note(delivery, claim.job_id, claim.token)
    assert own_worker.claims_of("of two") == claims[:2]
    assert sorted(own_worker.claims(), key=claims.index) == claims
    own_worker.drop(claims[0].token)
    assert own_worker.claims_of("of two") == claims[1:2]
    own_worker.clear("of two")
    assert own_worker.claims() == claims[2:]


def test_outside_of_a_worker_nothing_is_noted() -> None:
    placeholder, token = Worker(shares=False), new_token()
    placeholder.note("a delivery", "j", token)
    assert not placeholder.mark_cancelled(token)
    placeholder.unmark(token)
    placeholder.drop(token)
    placeholder.clear("a delivery")
    assert (placeholder.claims_of("a delivery"), placeholder.claims(), placeholder.pauses()) == ([], [], None)


def test_only_the_main_process_has_an_owner(own_worker: Worker) -> None:
    own_worker.owner = Mock()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if worker.current() is own_worker and worker.current().owner is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
