"""What jobclaim promises, over hundreds of seeds; ``python -m tests.simulation`` runs others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from tests.simulation.dimensions import DIMENSIONS, REFUSED
from tests.simulation.dynamodb import Database
from tests.simulation.mutants import OTHERS
from tests.simulation.run import run, shrunk
from tests.simulation.scenario import FAULTS, Scenario
from tests.support.volume import volume

SEEDS = volume(600)
PARTS = 4
WERE_BROKEN = {
    21496: "two passes of recovery counted the same message in one millisecond",
    21405: "a read of a breaker from before it opened let a second call through",
    21432: "the judge counted an attempt whose claim was over, because its worker had stood still",
    62875: "a pass took the end that another one wrote in that millisecond for its own, once the job had moved on",
    1280: "an attempt that was taken for lost freed the concurrency slot of the one that followed it",
    31310: "the judge took the time of a claim's answer for that of its request",
    139068: "two workers that recorded lost children at once took each other's substitute for sending",
    3355: "the model deleted jobs sooner than a process stands still",
    303871: "the judge asked for the due time of a claim outside workers, which does not ask for it",
    400906: "the judge asked for the end of a job that TTL had deleted while its owner stood still three times",
}


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(PARTS))
def test_no_order_of_events_and_no_fault_breaks_a_promise(part: int) -> None:
    broken = [outcome for seed in range(part, SEEDS, PARTS) if (outcome := run(Scenario.of(seed))).rule]

    least = [shrunk(outcome) for outcome in broken[:3]]
    assert not broken, [f"{outcome.what}; python -m tests.simulation {outcome.scenario.options()}" for outcome in least]


@pytest.mark.parametrize("seed", WERE_BROKEN)
def test_a_seed_that_broke_a_promise_once_breaks_none(seed: int) -> None:
    assert not run(Scenario.of(seed)).rule


def test_a_seed_is_the_same_run_every_time() -> None:
    first, second = (run(Scenario.of(17), traced=True) for _ in range(2))

    assert first == second
    assert first.trace


def test_the_seeds_of_a_run_meet_every_fault_and_do_real_work() -> None:
    scenarios = [Scenario.of(seed) for seed in range(50)]
    outcomes = [run(scenario) for scenario in scenarios]

    assert {fault for scenario in scenarios for fault in scenario.rates} == {*FAULTS, *REFUSED}
    assert {name for scenario in scenarios for name in scenario.dimensions} == set(DIMENSIONS)
    assert sum(outcome.bodies for outcome in outcomes) > 50
    assert sum(outcome.sweeps for outcome in outcomes) > 20


def test_without_faults_every_body_runs_once_and_no_pass_has_to_repair_anything() -> None:
    peaceful = replace(
        Scenario.of(3), rates={}, submitters=3, workers=2, people=0, dense=False, far=False, dimensions=frozenset()
    )
    outcome = run(peaceful, traced=True)

    assert not outcome.rule
    assert not [line for line in outcome.trace if "redispatched" in line or "orphaned" in line]


def test_a_failing_seed_shrinks_to_a_smaller_one_that_breaks_the_same_promise() -> None:
    with OTHERS["one claim token for all"]():
        failed = next(outcome for seed in range(100) if (outcome := run(Scenario.of(seed))).rule)
        least = shrunk(failed)
        again = run(least.scenario)

    assert again.rule == failed.rule
    assert len(least.scenario.rates) < len(failed.scenario.rates)
    assert f"--seed {failed.scenario.seed}" in least.scenario.options()
    assert not run(least.scenario).rule


def test_the_model_s_lagging_read_shows_the_past_and_its_consistent_one_does_not() -> None:
    times = iter((0, 100, 150, 150, 150))
    database = Database(lambda: next(times), lambda: 60)
    database.make_table("t", "id")
    for n in ("1", "2"):
        database.put_item({"TableName": "t", "Item": {"id": {"S": "a"}, "n": {"N": n}}})
    key = {"TableName": "t", "Key": {"id": {"S": "a"}}}

    assert database.get_item(key)[0]["Item"]["n"] == {"N": "1"}
    assert database.get_item({**key, "ConsistentRead": True})[0]["Item"]["n"] == {"N": "2"}


def test_the_model_refuses_what_it_does_not_know_instead_of_guessing() -> None:
    database = Database(lambda: 0)
    database.make_table("t", "id")
    key = {"TableName": "t", "Key": {"id": {"S": "a"}}}

    with pytest.raises(ValueError, match="model"):
        database.update_item({**key, "UpdateExpression": "SET n = list_append(a, b)"})
    with pytest.raises(ClientError, match="#n"):
        database.update_item({**key, "UpdateExpression": "REMOVE #n"})
    with pytest.raises(ClientError, match="sum"):
        database.update_item(
            {**key, "UpdateExpression": "SET n = :n + m", "ExpressionAttributeValues": {":n": {"N": "1"}}}
        )
