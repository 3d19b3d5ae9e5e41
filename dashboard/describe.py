"""``python -m dashboard.describe > docs/openapi.json``: the JSON API, described; a test holds the file to the code."""

from __future__ import annotations

import json
import sys

from dashboard.openapi import document
from dashboard.routes.api import CALLS


def text() -> str:
    """Give the file's text."""
    return json.dumps(document(CALLS), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
