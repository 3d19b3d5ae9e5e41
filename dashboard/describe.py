"""``python -m jobclaim.dashboard.describe > docs/openapi.json``: write the description of the JSON API."""

from __future__ import annotations

import json
import sys

from jobclaim.dashboard.openapi import document
from jobclaim.dashboard.routes.api import CALLS


def text() -> str:
    """Return the file's text."""
    return json.dumps(document(CALLS), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
