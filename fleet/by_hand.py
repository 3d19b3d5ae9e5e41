"""The last run by hand of each schedule: one small record in the fleet table, kept for 30 days."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute, number_in, text_in
from jobclaim.jobs.storage.records import Records

PREFIX: Final = "#by-hand#"
KEPT_SECONDS: Final = 30 * 86_400


@dataclass(frozen=True, slots=True)
class RunByHand:
    """The last run of a schedule by hand: when, in epoch milliseconds, by whom, and the id of its job."""

    at: int
    by: str
    job_id: str


class RunsByHand(Records):
    """Requests on the records of runs by hand; they raise `StoreUnavailable`."""

    def note(self, schedule: str, run: RunByHand) -> None:
        """Store a run as the schedule's last manual run."""
        item = {"at": attribute(run.at), "by": attribute(run.by), "run": attribute(run.job_id)}
        expires = attribute(run.at // 1000 + KEPT_SECONDS)
        self._write(
            "update_item",
            Key={schema.FLEET_KEY: attribute(PREFIX + schedule)},
            UpdateExpression="SET #at = :at, #by = :by, #run = :run, #expires = :expires",
            ExpressionAttributeNames={"#at": "at", "#by": "by", "#run": "run", "#expires": schema.FLEET_TTL},
            ExpressionAttributeValues={**{f":{name}": value for name, value in item.items()}, ":expires": expires},
        )


def runs_in(items: Iterable[Item]) -> dict[str, RunByHand]:
    """Pick the last runs by hand from records of the fleet table, by schedule."""
    return {
        name.removeprefix(PREFIX): RunByHand(number_in(item, "at"), text_in(item, "by"), text_in(item, "run"))
        for item in items
        if (name := str(item[schema.FLEET_KEY]["S"])).startswith(PREFIX)
    }
