"""Records of the fleet table."""

from __future__ import annotations

from jobclaim.jobs import JobRepo
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import Item, attribute


def stored(repo: JobRepo, name: str) -> Item:
    """Read a record as it is; empty if there is none."""
    key = {schema.FLEET_KEY: attribute(name)}
    found: Item = repo.table.client().get_item(TableName=repo.settings.fleet_table, Key=key).get("Item", {})
    return found
