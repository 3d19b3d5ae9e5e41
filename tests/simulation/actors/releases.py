"""Items that another release has written: the last one lacks attributes, the next one brings what is not known here."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

from jobclaim.jobs.encoding import schema
from tests.simulation.actors.stage import Stage
from tests.simulation.expressions import Item
from tests.simulation.queues import TASK

STRANGE: Final = "strange"
"""A job of the next release in a state that this one does not know."""
LACKED: Final = ("submission", "dispatched_at", "created_at", "on_orphan")
"""Attributes that the release before may not have written."""


def plant(stage: Stage) -> None:
    """Put three such items into the table, and the messages of those that can run."""
    settings, world = stage.shared.settings, stage.shared.world
    queue = next(iter(stage.queues))
    random = world.stream("releases")
    for name in ("former", "next", STRANGE):
        at = world.now + random.randrange(60_000)
        item = _waiting(name, queue, at, settings.index_shards)
        if name == "former":
            item = {attribute: value for attribute, value in item.items() if attribute not in LACKED}
        else:
            item |= {"next_map": {"M": {"of": {"L": [{"N": "1"}]}}}, "next_set": {"SS": ["a"]}, "next": {"BOOL": True}}
        if name == STRANGE:
            item["status"] = {"S": "PAUSED"}
        stage.shared.database.put_item({"TableName": settings.job_table, "Item": item})
        stage.oracle.planted(name, item)
        if name != STRANGE:
            stage.job_ids.append(name)
            if random.random() < 0.5:
                stage.oracle.counted[name, item.get("submission", {"S": ""})["S"], 0] = 1
                with suppress(ConnectionError):
                    stage.queues[queue].send(name, 0, max(0, at - world.now) / 1000)


def _waiting(name: str, queue: str, at: int, shards: int) -> Item:
    numbers: dict[str, Any] = {
        "attempt": 0,
        "charged": 0,
        "max_attempts": 2,
        "lease_ms": 30_000,
        "dispatches": 1,
        "created_at": at - 60_000,
        "dispatched_at": at,
        "available_at": at,
        schema.INDEX_RANGE: at,
    }
    place = schema.open_key(queue, schema.shard_of(name, shards))
    texts = {"job_id": name, "task": TASK, "queue": queue, "status": "PENDING", schema.INDEX_HASH: place}
    texts |= {"on_orphan": "retry", "submission": f"run-{name}"}
    return {
        **{attribute: {"S": value} for attribute, value in texts.items()},
        **{attribute: {"N": str(value)} for attribute, value in numbers.items()},
    }
