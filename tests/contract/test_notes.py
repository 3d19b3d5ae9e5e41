"""Counting who came to a chord, from many threads at once: nobody is counted twice, somebody sees it complete."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from jobclaim.infra.clients import dynamodb_client
from jobclaim.infra.tables import ensure_table, table_specs
from jobclaim.jobs import JobRepo
from jobclaim.jobs.storage.notes import Notes
from jobclaim.settings import Settings
from tests.support.endpoints import Endpoint, unique_name

pytestmark = pytest.mark.real
MEMBERS = 40


@pytest.fixture
def notes(dynamodb_local: Endpoint) -> Notes:
    """Notes in a table of their own."""
    name = unique_name("notes")
    settings = Settings(
        dynamodb_endpoint_url=dynamodb_local.endpoint_url, job_table=f"{name}-jobs", fleet_table=f"{name}-fleet"
    )
    for spec in table_specs(settings):
        list(ensure_table(dynamodb_client(settings), spec, 30))
    return Notes.of(JobRepo.from_settings(settings))


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


def test_a_thousand_members_fit(notes: Notes) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: notes.arrive("large", f"member-{number}", seconds=60), range(1000)))
    assert notes.expect("large", 1000, seconds=60).complete
