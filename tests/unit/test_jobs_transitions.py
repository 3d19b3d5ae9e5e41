"""The table of moves is the only source of conditions, and says what the design says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobclaim.jobs import JobStatus
from jobclaim.jobs.encoding.changes import Increment, PlusAttribute
from jobclaim.jobs.storage.expressions import update_request
from jobclaim.jobs.transitions import TRANSITIONS, Actor, Move, owner_move

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [name for name in ("cli", "dashboard", "infra", "jobs", "recovery", "workers") if (ROOT / name).is_dir()]
KNOWN: dict[str, str | int] = {
    "claim_token": "T",
    "attempt": 3,
    "submission": "S",
    "dispatches": 2,
    "dead_state": "WAITING",
    "now": 5000,
    "task": "shop.charge",
    "due": 7000,
    "step_count": 4,
    "wait_changes": 6,
}

CONDITIONS = {
    Move.CLAIM: "(status = PENDING) AND attempt = 3 AND task = shop.charge "
    "AND (attribute_not_exists(start_by) OR start_by >= 5000) AND available_at <= 7000 -> PROCESSING",
    Move.COMPLETE: "(status = PROCESSING) AND claim_token = T -> COMPLETED",
    Move.COMPLETE_WITH_EFFECTS: "(status = PROCESSING) AND claim_token = T -> COMPLETED",
    Move.FAIL: "(status = PROCESSING) AND claim_token = T -> FAILED",
    Move.RETRY: "(status = PROCESSING) AND claim_token = T -> PENDING",
    Move.RELEASE: "(status = PROCESSING) AND claim_token = T -> PENDING",
    Move.STOP: "(status = PROCESSING) AND claim_token = T -> CANCELLED",
    Move.ORPHAN_FAIL: "(status = PROCESSING) AND claim_token = T -> FAILED",
    Move.ORPHAN_RETRY: "(status = PROCESSING) AND claim_token = T -> PENDING",
    Move.ORPHAN_STOP: "(status = PROCESSING) AND claim_token = T -> CANCELLED",
    Move.CANCEL: "(status = PENDING) AND attempt = 3 -> CANCELLED",
    Move.GIVE_UP: "(status = PENDING) AND attempt = 3 AND dispatches = 2 -> FAILED",
    Move.REVIVE: "(status = FAILED) AND submission = S AND dead_state = WAITING -> PENDING",
    Move.RESOLVE: "(status = FAILED) AND submission = S AND dead_state = WAITING -> FAILED",
    Move.ABANDON: "(status = FAILED) AND submission = S AND dead_state = WAITING -> FAILED",
    Move.SUBMIT: "(status = COMPLETED OR status = FAILED OR status = CANCELLED) AND submission = S -> PENDING",
    Move.SUBMIT_WITH_WRITES: "(status = COMPLETED OR status = FAILED OR status = CANCELLED) AND submission = S "
    "-> PENDING",
    Move.DISPATCH: "(status = PENDING) AND attempt = 3 AND dispatches = 2 -> PENDING",
    Move.RECORD: "(status = COMPLETED OR status = FAILED OR status = CANCELLED) AND submission = S -> COMPLETED",
    Move.FORGET: "(status = COMPLETED) AND submission = S -> COMPLETED",
    Move.STEP: "(status = PROCESSING) AND claim_token = T AND step_count = 4 -> PROCESSING",
    Move.PROGRESS: "(status = PROCESSING) AND claim_token = T -> PROCESSING",
    Move.NOTE: "(status = PROCESSING) AND claim_token = T AND wait_changes = 6 -> PROCESSING",
    Move.WAIT: "(status = PROCESSING) AND claim_token = T AND wait_changes = 6 -> PENDING",
    Move.RESUME: "(status = PENDING) AND attempt = 3 AND dispatches = 2 AND wait_changes = 6 -> PENDING",
    Move.RESUME_EARLY: "(status = PROCESSING) AND claim_token = T AND wait_changes = 6 -> PROCESSING",
}


def test_every_move_has_its_row_and_its_sentence_here() -> None:
    assert set(TRANSITIONS) == set(Move) == set(CONDITIONS)


@pytest.mark.parametrize("move", Move)
def test_a_move_is_allowed_exactly_under_its_sentence(move: Move) -> None:
    request = update_request(move, KNOWN, {})

    assert _in_words(request["ConditionExpression"], request) + f" -> {_target(request)}" == CONDITIONS[move]


def test_a_job_of_an_older_version_that_has_no_dead_state_is_held_to_having_none() -> None:
    request = update_request(Move.REVIVE, {**KNOWN, "dead_state": ""}, {})

    assert _in_words(request["ConditionExpression"], request) == (
        "(status = FAILED) AND submission = S AND attribute_not_exists(dead_state)"
    )
    assert ":if_dead_state" not in request["ExpressionAttributeValues"]


def test_a_claim_that_comes_again_with_its_old_token_is_refused() -> None:
    request = update_request(Move.CLAIM, {"attempt": 3}, {"claim_token": "T"})

    assert _in_words(request["ConditionExpression"], request) == (
        "(status = PENDING) AND attempt = 3 AND claim_token <> T"
    )


def test_a_claim_that_names_no_attempt_asks_for_the_state_alone() -> None:
    request = update_request(Move.CLAIM, {"now": 5000}, {})

    assert _in_words(request["ConditionExpression"], request) == (
        "(status = PENDING) AND (attribute_not_exists(start_by) OR start_by >= 5000)"
    )


@pytest.mark.parametrize("move", [move for move in Move if TRANSITIONS[move].guards])
def test_a_move_without_what_it_must_hold_the_job_to_is_a_programming_error(move: Move) -> None:
    with pytest.raises(KeyError, match="as last read"):
        update_request(move, {}, {})


@pytest.mark.parametrize("move", [move for move in Move if JobStatus.PROCESSING in TRANSITIONS[move].sources])
def test_every_move_out_of_processing_is_fenced_by_the_claim(move: Move) -> None:
    assert TRANSITIONS[move].guards[0] == "claim_token"
    assert TRANSITIONS[move].sources == (JobStatus.PROCESSING,)
    assert TRANSITIONS[move].actor in (Actor.OWNER, Actor.RECOVERY) or move is Move.RESUME_EARLY


def test_only_a_claim_starts_a_job_and_only_its_owner_completes_it() -> None:
    starting = [move for move in Move if TRANSITIONS[move].target is JobStatus.PROCESSING]
    completing = [move for move in Move if TRANSITIONS[move].target is JobStatus.COMPLETED]

    assert [move for move in starting if TRANSITIONS[move].sources != (JobStatus.PROCESSING,)] == [Move.CLAIM]
    assert [move for move in completing if any(source.is_open for source in TRANSITIONS[move].sources)] == [
        Move.COMPLETE,
        Move.COMPLETE_WITH_EFFECTS,
    ]


def test_every_state_has_a_way_out_and_a_way_in() -> None:
    assert {source for row in TRANSITIONS.values() for source in row.sources} == set(JobStatus)
    assert {row.target for row in TRANSITIONS.values()} == set(JobStatus)


def test_an_owner_can_end_its_attempt_in_every_state_but_processing() -> None:
    ends = {status: owner_move(status) for status in JobStatus}

    assert ends.pop(JobStatus.PROCESSING) is None
    assert all(move and TRANSITIONS[move].actor is Actor.OWNER for move in ends.values())
    assert all(move and TRANSITIONS[move].target is status for status, move in ends.items())


@pytest.mark.parametrize("move", Move)
def test_a_refused_write_always_tells_what_stood_in_its_way(move: Move) -> None:
    assert update_request(move, KNOWN, {})["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


def test_a_claim_brings_the_whole_job_and_no_other_move_pays_for_it() -> None:
    answers = {move: update_request(move, KNOWN, {})["ReturnValues"] for move in Move}

    assert answers.pop(Move.CLAIM) == "ALL_NEW"
    assert set(answers.values()) == {"NONE"}


def test_changes_become_set_add_and_remove_around_the_new_status() -> None:
    request = update_request(
        Move.CLAIM,
        KNOWN,
        {
            "worker_id": "w",
            "idempotency_ttl": 0.5,
            "celery_task_id": None,
            "attempt": Increment(1),
            "ends": PlusAttribute(5, "lease_ms"),
        },
    )

    assert _in_words(request["UpdateExpression"], request) == (
        "SET status = PROCESSING, worker_id = w, idempotency_ttl = 0.5, ends = 5 + lease_ms ADD attempt 1 "
        "REMOVE celery_task_id"
    )


@pytest.mark.parametrize("move", Move)
def test_every_name_is_a_placeholder_so_that_no_reserved_word_can_break_a_request(move: Move) -> None:
    request = update_request(move, KNOWN, {"result": "1", "failure": None, "attempt": Increment(1)})
    text = request["UpdateExpression"] + " " + request["ConditionExpression"]

    assert set(re.findall(r"#\w+", text)) == set(request["ExpressionAttributeNames"])
    assert set(re.findall(r":\w+", text)) == set(request["ExpressionAttributeValues"])
    assert not re.search(r"(?<![#:\w])(?!attribute_not_exists)[a-z]\w*", text), "a bare attribute name"


def test_nothing_but_the_table_module_writes_jobs() -> None:
    """Notes and statistics lie in the job table under keys that no job can have, limits in the fleet table: none has a
    status.

    Pruning deletes jobs, on the condition that their retention, which only an ended job has, is still the one it read.
    """
    pruning = "jobs/repo/pruning.py"
    no_jobs = {
        f"jobs/storage/{name}.py" for name in ("counters", "members", "notes", "payload_items", "statistics")
    } | {pruning}
    writes = {"batch_write_item", "transact_write_items", "execute_statement"}
    writes |= {"put_item", "update_item", "delete_item"}
    jobs = list(_nodes("jobs"))
    writers = {path for path, node in jobs if writes & {_name(node)}}

    assert writers - no_jobs == {"jobs/storage/table.py", "jobs/storage/together.py"}
    assert {_name(node) for path, node in jobs if path == pruning} & writes == {"delete_item"}
    assert not [
        path
        for path, node in (*jobs, *_nodes("fleet"))
        if (path in no_jobs or path.startswith("fleet/"))
        and isinstance(node, ast.Constant)
        and node.value in ("status", "#status")
    ]


def test_no_condition_or_update_on_a_status_is_written_but_in_one_place() -> None:
    pattern = re.compile(r"#status|\bSET\b.*\bstatus\b|\bstatus\s*=\s*:")
    places = {
        path
        for package in PACKAGES
        for path, node in _nodes(package)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and pattern.search(node.value)
    }

    assert places == {"jobs/storage/expressions.py"}


def _nodes(package: str) -> Iterator[tuple[str, ast.AST]]:
    for file in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            yield str(file.relative_to(ROOT)), node


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _in_words(expression: str, request: dict[str, dict[str, dict[str, str]]]) -> str:
    """Put names and values in the place of their placeholders."""
    names: dict[str, str] = request["ExpressionAttributeNames"]  # type: ignore[assignment]
    values = {key: next(iter(typed.values())) for key, typed in request["ExpressionAttributeValues"].items()}
    return re.sub(r"[#:]\w+", lambda found: names.get(found[0]) or values[found[0]], expression)


def _target(request: dict[str, dict[str, dict[str, str]]]) -> str:
    return request["ExpressionAttributeValues"][":status"]["S"]


def test_a_claim_names_what_is_barred_and_nothing_where_nothing_is() -> None:
    barred = {"task": ("shop.charge", "shop.refund"), "queue": ("mail",), "job_id": ("never",)}
    request = update_request(Move.CLAIM, {"now": 5000}, {}, barred)
    assert "NOT #task IN (:bar_task0, :bar_task1) AND NOT #queue IN (:bar_queue0)" in request["ConditionExpression"]
    assert request["ExpressionAttributeValues"][":bar_task1"] == {"S": "shop.refund"}
    assert "job_id" not in request["ConditionExpression"]
    assert " IN " not in update_request(Move.CLAIM, {"now": 5000}, {})["ConditionExpression"]
    assert " IN " not in update_request(Move.CANCEL, {"attempt": 1}, {}, barred)["ConditionExpression"]


@pytest.mark.parametrize("move", [move for move in Move if move not in (Move.SUBMIT_WITH_WRITES,)])
def test_only_a_mover_that_has_not_read_the_job_is_given_it(move: Move) -> None:
    """Any other knows it, and a payload that comes back with each write costs its time."""
    assert update_request(move, KNOWN, {})["ReturnValues"] == ("ALL_NEW" if move is Move.CLAIM else "NONE")
