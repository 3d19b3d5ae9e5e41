"""The sources of the values of `Settings`, their order, and the error for a source that cannot be used."""

from __future__ import annotations

import os
from typing import Final

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from jobclaim.specs.django import table_of_django
from jobclaim.specs.project import ConfigError, find
from jobclaim.specs.variables import PREFIX

DOTENV: Final = ".env"


def ordered(
    settings: type[BaseSettings],
    arguments: PydanticBaseSettingsSource,
    environment: PydanticBaseSettingsSource,
    dotenv: PydanticBaseSettingsSource,
) -> tuple[PydanticBaseSettingsSource, ...]:
    """Order the sources, strongest first, with the project's ``.env`` unless the caller named another or none.

    Raises
    ------
    ConfigError
        The project's configuration file, or the table in Django's settings, cannot be used.
    """
    project = find(os.environ)
    if isinstance(dotenv, DotEnvSettingsSource) and dotenv.env_file == DOTENV:
        dotenv = DotEnvSettingsSource(settings, env_file=project.folder / DOTENV if project.folder else None)
    django, file = table_of_django(settings.model_fields), dict(project.table)
    last = InitSettingsSource(settings, django), InitSettingsSource(settings, file)
    return arguments, *filter(_has_settings, (environment, dotenv)), *last


def _has_settings(variables: PydanticBaseSettingsSource) -> bool:
    """Return whether any of a source's variables is ours: otherwise each field is looked for in vain, which takes long.

    A source that does not hold variables is kept.
    """
    if not isinstance(variables, EnvSettingsSource):
        return True
    return any(name.upper().startswith(PREFIX) for name in variables.env_vars)


def refused(error: ConfigError) -> ValidationError:
    """Turn the error about a configuration file into the same form as every other settings error."""
    problem = PydanticCustomError("value_error", "{error}", {"error": str(error)})
    return ValidationError.from_exception_data(
        "Settings", [InitErrorDetails(type=problem, loc=(error.source,), input=os.environ.get(error.source, ""))]
    )
