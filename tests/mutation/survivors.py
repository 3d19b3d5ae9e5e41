"""The mutants that nothing notices, each with the reason: `survivors.toml`, by name."""

from __future__ import annotations

import tomllib
from pathlib import Path

LIST = Path(__file__).with_name("survivors.toml")


def explained() -> dict[str, str]:
    """Give the reason of each."""
    groups = tomllib.loads(LIST.read_text())["reason"]
    return {name: group["why"] for group in groups for name in group["mutants"]}
