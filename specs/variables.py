"""Environment variables that begin with ``JOBCLAIM_``: settings, and a few others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from jobclaim.specs.refusals import refuse_unknown

PREFIX: Final = "JOBCLAIM_"
CONFIG: Final = "JOBCLAIM_CONFIG"
"""Names the file to read instead of the project's ``pyproject.toml``."""
APP: Final = "JOBCLAIM_APP"
"""Names the host's Celery application, like ``jobclaim --app``."""
AWS_REGIONS: Final = ("AWS_REGION", "AWS_DEFAULT_REGION")
"""AWS's own variables, which Lambda and ECS set; the first one set applies."""
TEST_SWITCHES: Final = frozenset({"JOBCLAIM_REQUIRE_REAL", "JOBCLAIM_CACHE", "JOBCLAIM_TEST_EVIDENCE"})
"""Read only by the test suite."""
NOT_SETTINGS: Final = TEST_SWITCHES | {CONFIG, APP}


def regions_default(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the region that AWS's own variables name, for settings without one; empty if they name none."""
    named = [environment[name] for name in AWS_REGIONS if environment.get(name)]
    return {"region": named[0]} if named else {}


def refuse_unknown_variables(environment: Mapping[str, str], fields: Collection[str]) -> None:
    """Refuse the first variable with our prefix that nothing reads.

    Raises
    ------
    ValueError
        The message names the variable's field and the closest known one.
    """
    others = [name.removeprefix(PREFIX).lower() for name in (CONFIG, APP)]
    for name in environment:
        if not name.upper().startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        if name.upper() in NOT_SETTINGS:
            raise ValueError(f"variable {name} is not read; write it as {name.upper()}")
        field = name[len(PREFIX) :].split("__")[0].lower()
        if field not in fields:
            refuse_unknown([field], [*fields, *others], f"the environment ({PREFIX}*)")
            raise ValueError(f"variable {name} is not read, because {PREFIX}{field.upper()} has no fields; remove it")


def refuse_misplaced(names: Collection[str]) -> None:
    """Refuse an entry of ``.env`` or of a configuration file that is only valid as an environment variable.

    Raises
    ------
    ValueError
        The message names the variable.
    """
    for name in (CONFIG, APP):
        if name.removeprefix(PREFIX).lower() in names:
            raise ValueError(
                f"{name} is read from the environment only; set it there, not in .env or a configuration file"
            )
