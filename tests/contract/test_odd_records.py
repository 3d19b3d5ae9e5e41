"""A record of the fleet table in a form that this version does not know stops nothing but what it is about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobclaim.fleet.alerts import KEY as ALERTS
from jobclaim.fleet.breaker import PREFIX as BREAKER
from jobclaim.fleet.breaker import Breaker, Breakers
from jobclaim.fleet.by_hand import PREFIX as BY_HAND
from jobclaim.fleet.by_hand import runs_in
from jobclaim.fleet.limits import FleetLimits
from jobclaim.fleet.rates import RateLimit
from jobclaim.fleet.registered import PREFIX as TASKS
from jobclaim.fleet.registered import RegisteredTasks
from jobclaim.fleet.tally import Tally, windows_in
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute
from jobclaim.jobs.storage.counters import PREFIX as TALLY
from jobclaim.jobs.storage.counters import window_key
from jobclaim.jobs.storage.pauses import RECORD
from jobclaim.recovery import sweep
from jobclaim.recovery.alerts import evaluate
from tests.contract.stores import Store
from tests.contract.test_clocks_put_right import a_store

PAUSE = {"kind": "queue", "name": "default", "by": "ann", "reason": "x", "since": 1, "until": 0, "ended_by": ""}
NO_MAPS = [{"S": "a text"}, {"S": ""}, {"N": "1"}, {"L": []}, {"L": [{"S": "a"}]}, {"NULL": True}, {"SS": ["a"]}]


@pytest.fixture
def table() -> Store:
    """A store with a fleet table of its own."""
    return a_store()


def put(store: Store, name: str, **values: Any) -> Item:
    item = {schema.FLEET_KEY: attribute(name), **values}
    store.client.put_item(TableName=store.settings.fleet_table, Item=item)
    return item


@pytest.mark.parametrize("odd", [{"until": "tomorrow"}, {"since": None}, {"name": ["mail"]}, {"kind": 3}])
def test_a_pause_that_cannot_be_read_leaves_the_others(table: Store, odd: dict[str, Any]) -> None:
    put(table, RECORD, version={"N": "1"}, pauses={"S": json.dumps([PAUSE | {"name": "mail"} | odd, {}, 7, PAUSE])})
    job, repo = table.pending(), table.repo()

    assert [pause.name for pause in repo.pauses.read().active(table.clock())] == ["default"]
    assert repo.claim_job(job.job_id) is None
    assert sweep(repo, send=lambda job, delay: None, backlog=lambda queue: 0).failed == 0


@pytest.mark.parametrize("odd", [{"streak": {"S": "x"}}, {"open_until": {"S": "soon"}}, {"streak": {"NULL": True}}])
def test_a_breaker_that_cannot_be_read_is_closed(table: Store, odd: Item) -> None:
    put(table, f"{BREAKER}mail", **odd)

    assert Breakers.of(table.repo()).ask(Breaker(name="mail")) == 0


@pytest.mark.parametrize("odd", [{"since": {"S": "x"}}, {"again": {"NULL": True}}])
def test_a_rate_that_cannot_be_read_lets_jobs_start(table: Store, odd: Item) -> None:
    put(table, "#rate/mail", **odd)

    assert FleetLimits.of(table.repo()).reserve("mail", RateLimit.parse("1/s")).starts


def test_a_holder_that_cannot_be_read_counts_until_its_job_has_ended(table: Store) -> None:
    owner, ends = table.claimed()
    put(table, "#running/mail", holders={"M": {ends.job_id: {"N": "1"}}})
    limits, enters = FleetLimits.of(table.repo()), table.claimed()[1]

    assert not limits.enter("mail", 1, enters)
    owner.update_status(ends.job_id, "COMPLETED")
    table.clock.advance(2)
    assert limits.enter("mail", 1, enters)


@pytest.mark.parametrize("odd", NO_MAPS)
def test_holders_that_cannot_be_read_count_as_none_and_the_limit_is_kept(table: Store, odd: Item) -> None:
    put(table, "#running/mail", holders=odd)
    first, second = table.claimed()[1], table.claimed()[1]
    limits = FleetLimits.of(table.repo())

    assert [limits.enter("mail", 1, job) for job in (first, first, second)] == [True, True, False]
    limits.leave("mail", first)
    assert limits.enter("mail", 1, second)


@pytest.mark.parametrize("odd", NO_MAPS)
def test_a_job_leaves_holders_that_cannot_be_read(table: Store, odd: Item) -> None:
    item = put(table, "#running/mail", holders=odd)

    FleetLimits.of(table.repo()).leave("mail", table.claimed()[1])

    key = {schema.FLEET_KEY: item[schema.FLEET_KEY]}
    assert table.client.get_item(TableName=table.settings.fleet_table, Key=key)["Item"] == item
    assert sweep(table.repo(), send=lambda job, delay: None, backlog=lambda queue: 0).failed == 0


@pytest.mark.parametrize("odd", [{"evaluated_at": {"S": "x"}}, {"said": {"S": '{"waiting": {"since": "x"}}'}}])
def test_alerts_that_cannot_be_read_count_as_not_said(table: Store, odd: Item) -> None:
    put(table, ALERTS, **odd)
    for _ in range(4):
        table.failed()
    said: list[str] = []

    evaluate(table.repo(), publish=lambda message: said.append(message.alert))

    assert said == ([] if "evaluated_at" in odd else ["waiting"])


def test_counts_runs_and_tasks_that_cannot_be_read_are_left_out(table: Store) -> None:
    now = table.clock()
    counts = put(table, window_key(now)[schema.FLEET_KEY]["S"], submitted={"S": "x"}, critical={"N": "2"})
    run = put(table, f"{BY_HAND}nightly", at={"S": "x"})
    put(table, f"{TASKS}abc", names={"S": "not base64"})
    repo = table.repo()

    assert (Tally.of(repo).read().submitted, Tally.of(repo).read().critical) == (0, 2)
    assert [window.critical for window in windows_in([counts, put(table, f"{TALLY}next")])] == [2]
    assert runs_in([run])["nightly"].at == 0
    assert RegisteredTasks.of(repo).read("abc") is None
