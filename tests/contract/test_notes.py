"""Counting who came to a chord, from many threads at once: nobody is counted twice, somebody sees it complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from jobclaim.infra.clients import dynamodb_client
from jobclaim.jobs import JobRepo
from jobclaim.jobs.storage.lean import LeanClient
from jobclaim.jobs.storage.members import ONE_NOTE
from jobclaim.jobs.storage.notes import Notes
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support import quick_stack
from tests.support.clock import ManualClock
from tests.support.endpoints import unique_name
from tests.support.recovery import MODEL_AND_REAL, REAL, bench_settings
from tests.support.volume import volume

MEMBERS = 40
on_real = pytest.mark.parametrize("repo", REAL[:1], indirect=True)
"""For tests that need requests made at once, or billed."""


@pytest.fixture(params=MODEL_AND_REAL)
def repo(request: pytest.FixtureRequest, clock: ManualClock) -> JobRepo:
    """Jobs in a table of their own; the real one is asked by the lean client, as deployed repos do."""
    if request.param == "model":
        return model_repo(bench_settings(), clock)
    dynamodb_local, name = request.getfixturevalue("dynamodb_local"), unique_name("notes")
    settings = Settings(
        dynamodb_endpoint_url=dynamodb_local.endpoint_url, job_table=f"{name}-jobs", fleet_table=f"{name}-fleet"
    )
    client = dynamodb_client(settings)
    quick_stack.make_tables(client, settings)
    return JobRepo(LeanClient.of(client), settings=settings)


@pytest.fixture
def notes(repo: JobRepo) -> Notes:
    """Notes in a table of their own."""
    return Notes.of(repo)


@contextmanager
def billed(repo: JobRepo) -> Iterator[Counter[str]]:
    """Write units by key, as DynamoDB tells them."""
    units, events = Counter[str](), repo.table.client().meta.events

    def ask(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"
        context["note"] = params["Key"]["job_id"]

    def collect(parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        refused = "Error" in parsed  # which is billed too, without telling: by what the item takes
        units[str(context["note"])] += 1 if refused else parsed["ConsumedCapacity"]["CapacityUnits"]

    events.register("before-parameter-build.dynamodb", ask)
    events.register("after-call.dynamodb", collect)
    try:
        yield units
    finally:
        events.unregister("before-parameter-build.dynamodb", ask)
        events.unregister("after-call.dynamodb", collect)


@on_real
def test_members_that_come_at_once_and_twice_are_counted_once(notes: Notes) -> None:
    assert not notes.expect("chord", MEMBERS, seconds=60).complete
    coming = [f"member-{number}" for number in range(MEMBERS)] * 2
    with ThreadPoolExecutor(16) as pool:
        seen = list(pool.map(lambda member: notes.arrive("chord", member, seconds=60), coming))
    assert sorted({arrivals.count for arrivals in seen}) == list(range(1, MEMBERS + 1))
    assert any(arrivals.complete for arrivals in seen)
    assert all(arrivals.complete == (arrivals.count == MEMBERS) for arrivals in seen)


def test_members_may_come_before_their_number_is_known(notes: Notes) -> None:
    assert not notes.arrive("early", "one", seconds=60).complete
    assert not notes.arrive("early", "two", seconds=60).complete
    assert notes.expect("early", 2, seconds=60).complete


@on_real
def test_a_thousand_members_fit(notes: Notes) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: notes.arrive("large", f"member-{number}", seconds=60), range(1000)))
    assert notes.expect("large", 1000, seconds=60).complete


def names(members: int) -> list[str]:
    return [f"member-{number}" for number in range(members)]


@on_real
@pytest.mark.thorough
@pytest.mark.parametrize("members", [100, volume(2_000)])
def test_a_member_costs_less_than_two_write_units_however_many_there_are(repo: JobRepo, members: int) -> None:
    coming = names(members)
    boto3s = JobRepo(repo.table.client().boto3s, settings=repo.settings)  # which tells its requests
    notes = Notes.of(boto3s)
    with billed(boto3s) as units:
        notes.plan("chord", coming, seconds=60)
        seen = [notes.arrive("chord", member, seconds=60).complete for member in coming]
    assert seen.index(True) == members - 1, "the last one, and no other"
    assert units.total() / members < 1.5
    assert max(units.values()) < 400, "no key takes a large share of the writes"


@on_real
@pytest.mark.thorough
@pytest.mark.parametrize("members", [1, 2, ONE_NOTE, ONE_NOTE + 1, 130, volume(700)])
def test_the_last_member_of_many_threads_completes_the_chord(repo: JobRepo, members: int) -> None:
    notes, coming = Notes.of(repo), names(members)
    notes.plan("chord", coming, seconds=60)
    notes.expect("chord", members, seconds=60)
    with ThreadPoolExecutor(8) as pool:
        early = list(pool.map(lambda member: notes.arrive("chord", member, seconds=60).complete, coming[:-1] * 2))
    assert not any(early)
    assert notes.arrive("chord", coming[-1], seconds=60).complete
    assert notes.arrive("chord", coming[0], seconds=60).complete, "one that was repaired wakes its chord again"


@pytest.mark.parametrize("members", [MEMBERS, 150])
def test_a_member_whose_answer_is_lost_counts_once(
    repo: JobRepo, monkeypatch: pytest.MonkeyPatch, members: int
) -> None:
    notes, client, coming, lost = Notes.of(repo), repo.table.client(), names(members), Counter[str]()
    update = client.update_item

    def deaf_at_first(**asked: Any) -> Any:
        answer = update(**asked)
        lost[str(asked["ExpressionAttributeValues"])] += 1
        if lost[str(asked["ExpressionAttributeValues"])] == 1:
            raise ConnectionClosedError(endpoint_url="http://dynamodb")
        return answer

    notes.plan("chord", coming, seconds=60)
    notes.expect("chord", members, seconds=60)
    monkeypatch.setattr(client, "update_item", deaf_at_first)
    seen = [notes.arrive("chord", member, seconds=60).complete for member in coming]
    assert lost.total() >= 2 * members
    assert seen == [False] * (members - 1) + [True]


@pytest.mark.parametrize("members", [MEMBERS, 150])
def test_who_came_is_known(repo: JobRepo, members: int) -> None:
    notes, coming = Notes.of(repo), names(members)
    notes.plan("chord", coming, seconds=60)
    assert not notes.is_announced("chord")
    for member in coming[::2]:
        notes.arrive("chord", member, seconds=60)
    notes.expect("chord", members, seconds=60)
    assert notes.arrived("chord", coming) == set(coming[::2])
    assert notes.is_announced("chord")


def test_a_chord_that_was_begun_before_there_were_plans_is_completed_as_it_was(notes: Notes) -> None:
    coming = names(200)
    for member in coming[:100]:
        notes.arrive("old", member, seconds=60)
    assert not notes.expect("old", 200, seconds=60).complete
    assert [notes.arrive("old", member, seconds=60).complete for member in coming[100:]][-1]


def test_a_chord_that_is_begun_again_loses_nobody(repo: JobRepo) -> None:
    notes, coming = Notes.of(repo), names(150)
    notes.plan("chord", coming, seconds=60)
    for member in coming[:140]:
        notes.arrive("chord", member, seconds=60)
    notes.plan("chord", coming, seconds=60)
    assert [Notes.of(repo).arrive("chord", member, seconds=60).complete for member in coming[140:]] == [
        *[False] * 9,
        True,
    ]
