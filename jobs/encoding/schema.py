"""Schema of the job table: its key, its one sparse index, and how a job's place in that index is computed.

::

    by_state   state_key                     state_at          jobs listed
               OPEN#<queue>#<shard>          available_at      PENDING and PROCESSING
               FAILED#<shard>                finished_at       FAILED, and a person must decide
               RETRY#<shard>                 retry_at          FAILED, and recovery retries it automatically
               SETTLED#<shard>               finished_at       FAILED, resolved or abandoned
               CANCELLED#<shard>             finished_at       CANCELLED
               COMPLETED#<shard>             finished_at       COMPLETED, unless `index_completed` is off
               RUNS                          begin of a day    no jobs: statistics, `jobclaim.jobs.storage.statistics`

A claim changes neither attribute and the index projects keys only: a claim costs one write unit, and none in the index.
"""

from __future__ import annotations

from typing import Final
from zlib import crc32

KEY: Final = "job_id"
INDEX: Final = "by_state"
INDEX_HASH: Final = "state_key"
INDEX_RANGE: Final = "state_at"
TTL: Final = "expires_at"
RUNS: Final = "RUNS"
"""Index partition of the statistics of runs."""

FLEET_KEY: Final = "worker_id"
FLEET_TTL: Final = "expires_at"


def shard_of(job_id: str, shards: int) -> int:
    """Return a job's index shard: CRC-32 of its id, so that every process computes the same one."""
    return crc32(job_id.encode()) % shards


def open_key(queue: str, shard: int) -> str:
    """Return the index partition of a queue's open (PENDING or PROCESSING) jobs."""
    return f"OPEN#{queue}#{shard}"


def retry_key(shard: int) -> str:
    """Return the index partition of the failed jobs that recovery starts again."""
    return f"RETRY#{shard}"


def concluded_key(shard: int) -> str:
    """Return the index partition of the failed jobs that were resolved or abandoned."""
    return f"SETTLED#{shard}"


def closed_key(status: str, shard: int) -> str:
    """Return the index partition of the jobs that ended in ``status``."""
    return f"{status}#{shard}"


LARGE_MARK: Final = "jobclaim:s3"
"""Key of the map that replaces a large value."""
