"""Whether a worker is dead is decided on its last heartbeat, not on one that a lagging read still shows."""

from __future__ import annotations

from jobclaim.jobs.encoding import schema
from jobclaim.recovery import RecoveryFleet
from tests.simulation.client import ModelClient
from tests.simulation.dynamodb import Database
from tests.support.clock import ManualClock


def test_a_worker_that_is_just_back_is_not_taken_for_dead_while_reads_lag(clock: ManualClock) -> None:
    client = ModelClient(clock)
    client._database = Database(clock, lambda: 5_000)
    client._database.make_table("fleet", schema.FLEET_KEY)
    fleet = RecoveryFleet(lambda: client, "fleet", dead_after_seconds=60, clock=clock, sleep=clock.advance)

    def beat() -> None:
        client.put_item(TableName="fleet", Item={"worker_id": {"S": "w1"}, "seen_at": {"N": str(clock())}})

    beat()
    clock.advance(60)
    assert set(fleet.read().dead) == {"w1"}

    beat()
    assert not fleet.read().dead
