"""Effects are made with their job's completion: once, all of them, by the claim's owner alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from jobclaim.jobs import ClaimLost, EffectRefused, InvalidEffect, JobRepo, JobStatus, StoreUnavailable
from jobclaim.jobs.effects.collected import Effects
from tests.contract.conftest import MOTO, open_store
from tests.contract.stores import LEDGER, LossyClient, Store, entry


@pytest.fixture
def mocked(request: pytest.FixtureRequest) -> Iterator[Store]:
    """What a project's own tests run on."""
    with open_store(MOTO, request) as opened:
        yield opened


def test_a_projects_tests_on_moto_see_their_effects(mocked: Store) -> None:
    test_all_effects_are_there_when_the_job_is_completed(mocked)


def test_a_projects_tests_on_moto_see_a_refusal(mocked: Store) -> None:
    test_nothing_is_written_where_a_condition_does_not_hold(mocked)


def put(name: str) -> dict[str, Any]:
    return {"Put": {"TableName": LEDGER, "Item": {"id": name, "amount": 1}}}


def charge(name: str, *, at_least: int) -> dict[str, Any]:
    return {
        "Update": {
            "TableName": LEDGER,
            "Key": {"id": name},
            "UpdateExpression": "ADD amount :one",
            "ConditionExpression": "amount >= :least",
            "ExpressionAttributeValues": {":one": -1, ":least": at_least},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
    }


def test_all_effects_are_there_when_the_job_is_completed(store: Store) -> None:
    owner, job = store.claimed()
    seed(store, "account", 5)
    seed(store, "old", 1)

    with_effects = [
        put("new"),
        charge("account", at_least=1),
        {"Delete": {"TableName": LEDGER, "Key": {"id": "old"}}},
        {
            "ConditionCheck": {
                "TableName": LEDGER,
                "Key": {"id": "x"},
                "ConditionExpression": "attribute_not_exists(id)",
            }
        },
    ]
    done = owner.update_status(job.job_id, "COMPLETED", result="ok", effects=with_effects)

    assert done == store.repo().get_job(job.job_id)
    assert done.effects.startswith("4:")
    assert {name: item["amount"]["N"] for name, item in store.ledger().items()} == {"new": "1", "account": "4"}


def test_nothing_is_written_where_a_condition_does_not_hold(store: Store) -> None:
    owner, job = store.claimed()
    seed(store, "account", 5)

    with pytest.raises(EffectRefused) as refused:
        owner.update_status(job.job_id, "COMPLETED", effects=[put("new"), charge("account", at_least=6)])

    error = refused.value
    assert (error.table, error.key, error.operation, error.index) == (LEDGER, {"id": "account"}, "Update", 1)
    assert error.reason == "ConditionalCheckFailed"
    assert error.item == {"id": "account", "amount": 5}
    assert "new" not in store.ledger()
    assert store.repo().get_job(job.job_id).status is JobStatus.PROCESSING, "its owner decides what follows"
    assert owner.update_status(job.job_id, "COMPLETED", effects=[charge("account", at_least=5)]).effects


def test_a_zombie_makes_no_effect(store: Store) -> None:
    zombie, job = store.claimed()
    owner = store.repo()
    store.repo().release(job.job_id, token=job.claim_token)
    again = owner.claim_job(job.job_id)
    assert again is not None

    with pytest.raises(ClaimLost):
        zombie.update_status(job.job_id, "COMPLETED", effects=[put("zombie's")], token=job.claim_token)
    with pytest.raises(ClaimLost):
        JobRepo(store.line, settings=store.settings, clock=store.clock).update_status(
            job.job_id, "COMPLETED", effects=[put("zombie's")], token=job.claim_token
        )
    owner.update_status(job.job_id, "COMPLETED", effects=[put("owner's")])

    assert set(store.ledger()) == {"owner's"}


def test_a_zombie_whose_condition_fails_too_hears_of_its_claim(store: Store) -> None:
    zombie, job = store.claimed()
    store.repo().release(job.job_id, token=job.claim_token)

    with pytest.raises(ClaimLost):
        zombie.update_status(job.job_id, "COMPLETED", effects=[charge("nothing", at_least=1)])


@pytest.mark.parametrize("minutes", [0, 11])
@pytest.mark.parametrize("times", [1, 2])
def test_a_counter_is_changed_once_though_answers_get_lost(store: Store, times: int, minutes: int) -> None:
    owner, job = store.claimed(hard_limit=3600)
    seed(store, "account", 5)
    line = LossyClient(store.line, times=times, meanwhile=lambda: store.clock.advance(60 * minutes))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner.table, "client", lambda: line)
        done = owner.update_status(job.job_id, "COMPLETED", result=1, effects=[charge("account", at_least=5)])

    assert done.status is JobStatus.COMPLETED
    assert store.ledger()["account"]["amount"]["N"] == "4"


def test_the_same_end_said_again_later_is_a_success_and_makes_nothing(store: Store) -> None:
    owner, job = store.claimed(hard_limit=1)
    seed(store, "account", 5)
    effects = [charge("account", at_least=1)]
    line = LossyClient(store.line, times=1_000)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner.table, "client", lambda: line)
        with pytest.raises(StoreUnavailable):
            owner.update_status(job.job_id, "COMPLETED", effects=effects)

    assert owner.update_status(job.job_id, "COMPLETED", effects=effects).status is JobStatus.COMPLETED
    assert store.ledger()["account"]["amount"]["N"] == "4"


@pytest.mark.parametrize("first", [[], [put("other")]])
def test_a_completion_with_other_effects_is_not_taken_for_this_one(store: Store, first: list[dict[str, Any]]) -> None:
    owner, job = store.claimed()
    other = store.repo()
    other._claims.remember(job)
    other.update_status(job.job_id, "COMPLETED", effects=first)

    with pytest.raises(ClaimLost):
        owner.update_status(job.job_id, "COMPLETED", effects=[put("mine")])

    assert "mine" not in store.ledger()


def test_a_plain_completion_is_not_taken_for_one_with_effects(store: Store) -> None:
    owner, job = store.claimed()
    other = store.repo()
    other._claims.remember(job)
    other.update_status(job.job_id, "COMPLETED", effects=[put("theirs")])

    with pytest.raises(ClaimLost):
        owner.update_status(job.job_id, "COMPLETED")


REASONS = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]


@pytest.mark.parametrize("reason", REASONS)
def test_what_passes_is_tried_again_until_the_lease_ends(store: Store, reason: str) -> None:
    owner, job = store.claimed()
    line = LossyClient(store.line, arrives=False, times=20, error=lambda: cancelled("None", reason))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner.table, "client", lambda: line)
        assert owner.update_status(job.job_id, "COMPLETED", effects=[put("new")]).effects

    assert line.writes == 21
    assert store.clock() < job.lease_expires_at


def test_a_conflict_that_does_not_pass_ends_with_the_lease_and_leaves_the_job_to_recovery(store: Store) -> None:
    owner, job = store.claimed(hard_limit=1)
    line = LossyClient(store.line, arrives=False, times=10_000, error=lambda: cancelled("TransactionConflict", "None"))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner.table, "client", lambda: line)
        with pytest.raises(StoreUnavailable, match="TransactionConflict"):
            owner.update_status(job.job_id, "COMPLETED", effects=[put("new")])

    assert store.clock() >= job.lease_expires_at
    assert store.repo().get_job(job.job_id).status is JobStatus.PROCESSING


@pytest.mark.parametrize(
    ("codes", "reason", "index"),
    [
        (("None", "None", "ValidationError"), "ValidationError", 1),
        (("None", "ItemCollectionSizeLimitExceeded", "None"), "ItemCollectionSizeLimitExceeded", 0),
        (("None", "TransactionConflict", "ConditionalCheckFailed"), "ConditionalCheckFailed", 1),
    ],
)
def test_every_reason_for_good_names_its_item(store: Store, codes: tuple[str, ...], reason: str, index: int) -> None:
    owner, job = store.claimed()
    line = LossyClient(store.line, arrives=False, error=lambda: cancelled(*codes))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner.table, "client", lambda: line)
        with pytest.raises(
            EffectRefused, match=reason if reason != "ConditionalCheckFailed" else "did not hold"
        ) as error:
            owner.update_status(job.job_id, "COMPLETED", effects=[charge("a", at_least=1), charge("b", at_least=1)])

    assert (error.value.reason, error.value.index, error.value.table) == (reason, index, LEDGER)
    assert error.value.key == {"id": "ab"[index]}


def test_what_dynamodb_can_make_no_transaction_of_says_what_to_do(store: Store) -> None:
    owner, job = store.claimed()

    with pytest.raises(InvalidEffect, match="Nothing was written"):
        owner.update_status(job.job_id, "COMPLETED", effects=[put("same"), put("same")])
    assert not store.ledger()


def test_a_table_that_is_not_there_is_a_fault_of_the_deployment(store: Store) -> None:
    owner, job = store.claimed()

    with pytest.raises(EffectRefused, match="Create the table") as error:
        owner.update_status(job.job_id, "COMPLETED", effects=[entry("no-such-table")])

    assert (error.value.reason, error.value.failure_kind) == ("ResourceNotFound", "CONFIGURATION")


@pytest.mark.parametrize("table", ["job_table", "fleet_table"])
def test_jobclaims_own_tables_are_refused_before_anything_is_asked(store: Store, table: str) -> None:
    owner, job = store.claimed()
    line = LossyClient(store.line)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner.table, "client", lambda: line)
        with pytest.raises(InvalidEffect, match="belongs to jobclaim"):
            owner.update_status(job.job_id, "COMPLETED", effects=[entry(getattr(store.settings, table))])
    assert line.writes == 0


def test_a_block_completes_with_its_effects(store: Store) -> None:
    repo = store.repo()
    with repo.claimed(store.pending().job_id) as job:
        assert job is not None
        job.effects.put(TableName=LEDGER, Item={"id": "from a block"})
        job.set_result(7)

    assert store.repo().get_job(job.job_id).result == 7
    assert set(store.ledger()) == {"from a block"}


def test_a_block_that_raises_drops_its_effects(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        block(store.repo(), store.pending().job_id, put("from a block"), lambda: 1 / 0)

    assert not store.ledger()


def test_a_block_whose_effect_is_refused_fails_its_job(store: Store) -> None:
    job_id = store.pending().job_id
    with pytest.raises(EffectRefused):
        block(store.repo(), job_id, charge("nothing", at_least=1), lambda: None)

    failed = store.repo().get_job(job_id)
    assert failed.status is JobStatus.FAILED
    assert failed.failure is not None
    assert failed.failure.exception.endswith("EffectRefused")
    assert "'id': 'nothing'" in failed.failure.message


@pytest.mark.real
def test_of_two_owners_that_think_they_are_one_charges(atomic_store: Store) -> None:
    """The same attempt, said by twenty threads at once, as a program that hands its token on may."""
    _, job = atomic_store.claimed()
    seed(atomic_store, "account", 50)

    def complete(number: int) -> bool:
        try:
            atomic_store.repo().update_status(
                job.job_id, "COMPLETED", result=number, token=job.claim_token, effects=[charge("account", at_least=1)]
            )
        except ClaimLost:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(complete, range(20)))

    assert made.count(True) == 1
    assert atomic_store.ledger()["account"]["amount"]["N"] == "49"


@pytest.mark.real
def test_many_jobs_on_one_hot_item_all_count(atomic_store: Store) -> None:
    claims = [atomic_store.claimed() for _ in range(12)]
    seed(atomic_store, "account", 50)

    def complete(claim: Any) -> object:
        owner, job = claim
        return owner.update_status(job.job_id, "COMPLETED", effects=[charge("account", at_least=1)]).effects

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(complete, claims))
    assert atomic_store.ledger()["account"]["amount"]["N"] == "38"


def test_sealed_effects_take_no_more_until_the_write_was_refused(store: Store) -> None:
    owner, job = store.claimed()
    effects = Effects(owner.own_tables)
    effects.update(**charge("nothing", at_least=1)["Update"])
    with pytest.raises(EffectRefused):
        owner.update_status(job.job_id, "COMPLETED", effects=effects)
    effects.put(TableName=LEDGER, Item={"id": "another"})

    other = Effects()
    other.put(TableName=LEDGER, Item={"id": "one"})
    owner.update_status(job.job_id, "COMPLETED", effects=other)
    with pytest.raises(InvalidEffect, match="too late"):
        other.put(TableName=LEDGER, Item={"id": "two"})


def block(repo: JobRepo, job_id: str, effect: dict[str, Any], then: Callable[[], object]) -> None:
    with repo.claimed(job_id) as job:
        assert job is not None
        job.effects.extend([effect])
        then()


def seed(store: Store, name: str, amount: int) -> None:
    store.client.put_item(TableName=LEDGER, Item={"id": {"S": name}, "amount": {"N": str(amount)}})


def cancelled(*codes: str) -> Exception:
    reasons = [{"Code": code, "Message": f"{code} it is"} for code in codes]
    answer = {"Error": {"Code": "TransactionCanceledException", "Message": "cancelled"}, "CancellationReasons": reasons}
    return ClientError(cast("Any", answer), "TransactWriteItems")
