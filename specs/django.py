"""``JOBCLAIM = {...}`` in Django's settings: names in lower or upper case, also in nested tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jobclaim.specs.project import ConfigError
from jobclaim.specs.refusals import refuse_unknown

DJANGO: Final = "DJANGO_SETTINGS_MODULE"
TABLE: Final = "JOBCLAIM"


class DjangoTableError(ConfigError):
    """``JOBCLAIM`` in Django's settings cannot be used."""

    source = TABLE


def table_of_django(fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Read ``JOBCLAIM`` of the Django project that this process belongs to; empty if it belongs to none.

    Raises
    ------
    DjangoTableError
        It is not a dictionary, or a name in it is unknown or given twice; the message names its place.
    """
    table = _declared()
    kinds = {name: field.annotation for name, field in fields.items()}
    try:
        return _by_field(table, kinds, TABLE) if table else {}
    except ValueError as error:
        raise DjangoTableError(f"{error} (Django's settings {os.environ.get(DJANGO, '')})") from error


def _declared() -> Any:
    if not _is_django():
        return {}
    try:
        from django.conf import settings
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise
        return {}
    return getattr(settings, TABLE, None)


def _is_django() -> bool:
    """Check whether Django's settings can be read: loaded already, or named and not being loaded right now."""
    conf, named = sys.modules.get("django.conf"), os.environ.get(DJANGO)
    if conf is not None and conf.settings.configured:
        return True
    module = sys.modules.get(named) if named else None
    being_read = module is not None and getattr(getattr(module, "__spec__", None), "_initializing", False)
    return bool(named) and not being_read


def _by_field(table: Any, kinds: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Rename the entries of a table, and of its nested tables, to the names of their fields."""
    if not isinstance(table, Mapping) or not all(isinstance(name, str) for name in table):
        raise ValueError(
            f"{where}={table!r} is not a dictionary of names; write it as {TABLE} = {{'job_table': 'shop-jobs'}}"
        )
    named: dict[str, Any] = {}
    for given, value in table.items():
        name = given if given in kinds else given.lower()
        refuse_unknown([name], kinds, where)
        if name in named:
            raise ValueError(f"{where} has {name!r} twice, in lower and in upper case; keep one")
        named[name] = _inside(value, kinds[name], f"{where}[{given!r}]")
    return named


def _inside(value: Any, kind: Any, where: str) -> Any:
    """Rename the tables inside a value; names that are not fields, such as those of tasks, stay unchanged."""
    for one in _alternatives(kind):
        origin, inner = get_origin(one), get_args(one)
        if isinstance(value, Mapping):
            if isinstance(one, type) and issubclass(one, BaseModel):
                fields = {name: field.annotation for name, field in one.model_fields.items()}
                return _by_field(value, fields, where)
            if isinstance(origin, type) and issubclass(origin, Mapping):
                return {name: _inside(entry, inner[1], f"{where}[{name!r}]") for name, entry in value.items()}
        elif isinstance(value, (list, tuple)) and origin is tuple:
            return tuple(_inside(entry, inner[0], f"{where}[{number}]") for number, entry in enumerate(value))
    return value


def _alternatives(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for one in get_args(kind):
            yield from _alternatives(one)
    else:
        yield kind
