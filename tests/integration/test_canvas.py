"""Chains, groups, chords and links of claimed tasks on real workers: right results, each body once, no second store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import ChordError

from jobclaim.jobs import JobStatus
from jobclaim.jobs.storage.notes import SEPARATOR
from jobclaim.workers import create_app
from tests.support.canvas_tasks import (
    Unlucky,
    add,
    add_after_a_crash,
    add_at_second_try,
    crash,
    fail,
    note_error,
    plain_add,
    plain_fail,
    total,
)
from tests.support.endpoints import Endpoint
from tests.support.stack import Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
WAIT = 40


@pytest.fixture(scope="module")
def stack(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One deployment and one worker with four processes for the whole file."""
    modules = ("tests.support.canvas_tasks",)
    with deployed(dynamodb_local, elasticmq, tmp_path_factory.mktemp("canvas"), task_modules=modules) as made:
        made.worker("canvas", "-Q", "default", "-c", "4")
        yield made


@pytest.fixture
def app(stack: Stack) -> Iterator[Celery]:
    """An app of this process on that deployment, and the current one: signatures find it so."""
    made = create_app(stack.settings)
    made.set_current()
    yield made
    made.close()


def lines_of(told: Path) -> list[str]:
    """What an error callback has told, once it is there: a file is there before its first line is."""
    wait_until(lambda: told.exists() and told.read_text(), WAIT, "the error callback has run")
    return told.read_text().split()


@pytest.mark.versions
def test_a_chain_hands_each_result_on_and_its_last_id_is_the_result(app: Celery, stack: Stack) -> None:
    result = chain(add.s(1, 2), add.s(10), add_at_second_try.s(100), plain_add.s(1000)).apply_async()
    assert result.get(timeout=WAIT) == 1113
    retried = app.jobclaim.repo.get_job(result.parent.id)
    assert (retried.attempt, retried.result) == (2, 113)
    first = result.parent.parent.parent
    assert stack.repo.get_job(first.id).result == 3
    assert {job_id for job_id, _ in stack.bodies()} >= {first.id, retried.job_id}


def test_a_group_of_fifty_gives_fifty_results_in_order(app: Celery) -> None:
    result = group(add.s(number, number) for number in range(50)).apply_async()
    assert result.get(timeout=WAIT) == [2 * number for number in range(50)]
    result.save()
    restored = app.GroupResult.restore(result.id)
    assert restored.completed_count() == 50
    result.delete()
    assert app.GroupResult.restore(result.id, app.backend) is None


@pytest.mark.versions
def test_the_body_of_a_chord_with_twenty_headers_runs_once(app: Celery, stack: Stack) -> None:
    header = [add_at_second_try.s(number, 1) if number % 5 == 0 else add.s(number, 1) for number in range(20)]
    result = chord(header)(total.s(more=1000))
    assert result.get(timeout=WAIT) == sum(range(20)) + 20 + 1000
    runs = {key: times for key, times in stack.bodies().items() if key[0] == result.id}
    assert runs == {(result.id, 1): 1}


def test_chords_nest_and_take_groups_chains_and_plain_tasks(app: Celery) -> None:
    inner = chord([add.s(1, 1), add.s(2, 2)], total.s())
    outer = chord([inner, chain(add.s(3, 3), add.s(4)), plain_add.s(5, 5)], total.s())
    assert outer.apply_async().get(timeout=WAIT) == 6 + 10 + 10
    in_a_chain = chain(add.s(1, 1), group(add.s(number) for number in range(3)), total.s(), add.s(100))
    assert in_a_chain.apply_async().get(timeout=WAIT) == 2 + 3 + 4 + 100
    to_a_group = chord([add.s(1, 1), add.s(2, 2)], group(total.s(), total.s(more=1)))
    assert to_a_group.apply_async().get(timeout=WAIT) == [6, 7]


def test_a_failed_step_fails_the_rest_of_its_chain_and_tells_its_error_callback(
    app: Celery, stack: Stack, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    result = chain(add.s(1, 1), fail.s(), add.s(1)).on_error(note_error.s(path=str(told))).apply_async()
    with pytest.raises(Unlucky) as caught:
        result.get(timeout=WAIT)
    assert type(caught.value) is Unlucky
    failed = result.parent.id
    assert lines_of(told) == [failed]
    assert stack.repo.get_job(failed).status is JobStatus.FAILED
    assert app.AsyncResult(result.id).state == "FAILURE"
    assert "as it had to be" in app.AsyncResult(failed).traceback


def test_a_failed_member_fails_the_chord_and_its_body_never_runs(app: Celery, stack: Stack, tmp_path: Path) -> None:
    told = tmp_path / "told"
    body = total.s().on_error(note_error.s(path=str(told)))
    result = chord([add.s(1, 1), fail.s(), add.s(2, 2)])(body)
    with pytest.raises(ChordError, match="as it had to be"):
        app.AsyncResult(result.id).get(timeout=WAIT)
    assert lines_of(told) == [result.id]
    assert not [key for key in stack.bodies() if key[0] == result.id]


@pytest.mark.versions
def test_members_and_steps_whose_process_is_killed_run_again_and_count_once(app: Celery, stack: Stack) -> None:
    header = [add_after_a_crash.s(1, 1), add.s(2, 2), chain(add_after_a_crash.s(3, 3), add.s(4))]
    result = chord(header)(total.s())
    assert result.get(timeout=WAIT) == 2 + 4 + 10
    assert {key: times for key, times in stack.bodies().items() if key[0] == result.id} == {(result.id, 1): 1}


def test_a_job_whose_process_is_killed_tells_its_links(app: Celery, stack: Stack, tmp_path: Path) -> None:
    told = tmp_path / "told"
    step = chain(crash.s(), add.s(1)).on_error(note_error.s(path=str(told))).apply_async()
    result = chord([add.s(1, 1), crash.s()])(total.s())
    assert lines_of(told) == [step.parent.id]
    with pytest.raises(ChordError, match="WorkerLostError"):
        app.AsyncResult(result.id).get(timeout=WAIT)
    wait_until(lambda: app.AsyncResult(step.id).state == "FAILURE", WAIT, "the rest of its chain has failed")


@pytest.mark.versions
def test_callbacks_run_once_with_the_result(app: Celery, stack: Stack) -> None:
    linked = add.s(1)
    open_states = (JobStatus.PENDING, JobStatus.PROCESSING)
    wait_until(lambda: not any(stack.repo.list_jobs(state).jobs for state in open_states), WAIT, "nothing else runs")
    before = len(stack.bodies())
    results = [add.apply_async((number, 1), link=linked) for number in (1, 2)]
    assert [result.get(timeout=WAIT) for result in results] == [2, 3]
    wait_until(lambda: len(stack.bodies()) == before + 4, WAIT, "two callbacks have run, one each")
    assert set(stack.bodies().values()) == {1}


@pytest.mark.versions
def test_plain_tasks_have_results_and_errors_of_their_class(app: Celery) -> None:
    result = plain_add.delay(1, 2)
    assert result.get(timeout=WAIT) == 3
    with pytest.raises(Unlucky) as caught:
        plain_fail.delay().get(timeout=WAIT)
    assert caught.value.args == (8, "plainly")
    result.forget()
    assert app.AsyncResult(result.id).state == "PENDING"


def test_nothing_is_stored_outside_the_job_table(app: Celery, stack: Stack, dynamodb_local: Endpoint) -> None:
    assert chord([add.s(1, 1), add.s(2, 2)])(total.s()).get(timeout=WAIT) == 6
    client: Any = dynamodb_local.client()
    tables = [name for page in client.get_paginator("list_tables").paginate() for name in page["TableNames"]]
    mine = [name for name in tables if name.startswith(stack.settings.job_table[:-5])]
    assert sorted(mine) == sorted([stack.settings.job_table, stack.settings.fleet_table])
    ids = [item["job_id"]["S"] for item in client.scan(TableName=stack.settings.job_table)["Items"]]
    notes = [key for key in ids if SEPARATOR in key]
    assert {key.split(SEPARATOR)[0] for key in notes} <= {"chord", "result", "group"}
    for status in ("PENDING", "FAILED", "CANCELLED"):
        assert not [job for job in stack.repo.list_jobs(status, limit=1000).jobs if SEPARATOR in job.job_id]
