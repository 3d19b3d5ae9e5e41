"""DynamoDB's TTL: an item whose ``expires_at`` is past is deleted, at some time, by nobody's request."""

from __future__ import annotations

from typing import Final

from jobclaim.jobs.encoding import schema
from tests.simulation.actors.stage import Stage
from tests.simulation.dynamodb import Write
from tests.simulation.line import Writer

EVERY_MS: Final = 3_000


def delete_expired(stage: Stage) -> None:
    """Delete what has expired by the true time, each with even chances whenever it is looked at."""
    process, table = stage.process("ttl", 0), stage.shared.settings.job_table
    world, database = stage.shared.world, stage.shared.database
    while True:
        world.pause(EVERY_MS)
        for key, item in list(database.items(table).items()):
            at = int(item.get(schema.TTL, {"N": "0"})["N"])
            if 0 < at * 1000 < world.now and process.random.random() < 0.5:
                _, write = database.delete_item({"TableName": table, "Key": {schema.KEY: {"S": key}}})
                process.note(f"{key[:12]}: deleted")
                stage.oracle.observe(Write(write.table, key, write.old, None, 0, 0), Writer(process, None, "", None))
