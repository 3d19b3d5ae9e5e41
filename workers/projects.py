"""Settings of the project that an app belongs to: those of the environment, above Django's ``JOBCLAIM``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from jobclaim.settings import Settings

DJANGO: Final = "DJANGO_SETTINGS_MODULE"
TABLE: Final = "JOBCLAIM"


def settings_of_project() -> Settings:
    """Read the project's settings.

    In a Django project the dictionary ``JOBCLAIM`` of its settings counts too; an environment variable of the same
    name is stronger, as it is above ``pyproject.toml``.

    Raises
    ------
    TypeError
        Django's ``JOBCLAIM`` is not a dictionary with names as keys.
    pydantic.ValidationError
        It names each field, the value and the remedy.
    """
    table = _django_table()
    stronger = {name.upper() for name in os.environ}
    own = {name: value for name, value in table.items() if f"JOBCLAIM_{name.upper()}" not in stronger}
    return Settings(**own)


def _django_table() -> Mapping[str, Any]:
    if not os.environ.get(DJANGO):
        return {}
    try:
        from django.conf import settings
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        return {}
    table = getattr(settings, TABLE, None) or {}
    if not isinstance(table, Mapping) or not all(isinstance(name, str) for name in table):
        raise TypeError(
            f"{TABLE} in Django's settings is {type(table).__name__}; write a dictionary of jobclaim's settings, as in "
            f"{TABLE} = {{'job_table': 'shop-jobs'}}"
        )
    return {name.lower(): value for name, value in table.items()}
