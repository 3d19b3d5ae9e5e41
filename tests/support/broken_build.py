"""A build that breaks a promise, for workers that `tests/integration/test_verify.py` starts: in nothing else."""

from __future__ import annotations

import os
from typing import Any

from jobclaim.jobs.storage import expressions, table

if os.environ.get("BROKEN_BUILD") == "claims twice":
    honest = expressions.update_request

    def update_request(move: Any, expected: Any, changes: Any, *barred: Any) -> dict[str, Any]:
        """As the real one, but for a claim: it asks for nothing, and is not counted as an attempt."""
        if move == "claim":
            changes = {name: change for name, change in changes.items() if name != "attempt"}
        request = honest(move, expected, changes, *barred)
        if move == "claim":
            request["ConditionExpression"] = "attribute_exists(#status)"
            names = request["UpdateExpression"]
            for part in ("Names", "Values"):
                known = request[f"ExpressionAttribute{part}"]
                request[f"ExpressionAttribute{part}"] = {
                    name: value for name, value in known.items() if name in names or name == "#status"
                }
        return request

    vars(table)["update_request"] = update_request
