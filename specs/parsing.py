"""Reading what an environment variable can only give as text, and hiding secrets in what is said about it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails
from pydantic_settings import NoDecode

T = TypeVar("T")

SECRET_FIELDS: Final = frozenset({"dashboard_users"})
"""Fields whose values no message quotes: where a password's hash belongs, a password will be written one day."""
HIDDEN: Final = "(not shown)"


def from_json(value: Any, info: ValidationInfo) -> Any:
    """Read a table or list that is given as JSON; anything but text is given back as it is.

    Raises
    ------
    ValueError
        The text is not JSON; it names the field and shows the form.
    """
    if not isinstance(value, str):
        return value
    field = info.field_name
    try:
        return json.loads(value)
    except ValueError as error:
        example = '[{"name": "default"}]' if field == "queues" else '{"name": ...}'
        shown = HIDDEN if field in SECRET_FIELDS else repr(value)
        raise ValueError(f"{field}={shown} is not JSON ({error}); write it as {example}") from error


def from_list(value: Any, info: ValidationInfo) -> Any:
    """Read ``["a", "b"]`` or ``a,b``; anything but text is given back as it is.

    Raises
    ------
    ValueError
        The text begins like a JSON list and is none; it names the field and shows both forms.
    """
    if not isinstance(value, str):
        return value
    if not value.lstrip().startswith("["):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f'{info.field_name}={value!r} is not JSON ({error}); write a,b or ["a", "b"]') from error


def endpoint_url(url: str | None) -> str | None:
    """Check the URL of an endpoint; an empty one, as compose files give, is none.

    Raises
    ------
    ValueError
        It has no scheme or no host.
    """
    if not url:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"endpoint {url!r} is not a URL; write http://host:port, or leave it out for AWS")
    return url


FromJson = Annotated[T, NoDecode, BeforeValidator(from_json)]
"""A field that is given as JSON where it can only be text."""
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(from_list)]
"""A field of names, in a list or between commas."""
EndpointUrl = Annotated[str | None, AfterValidator(endpoint_url)]


def without_secrets(error: ValidationError) -> ValidationError:
    """Hide what was given for a secret field, and for all of them at once, as a check of the whole is given it."""
    rows = [
        InitErrorDetails(
            type=row["type"],
            loc=row["loc"],
            input=row["input"] if row["loc"] and row["loc"][0] not in SECRET_FIELDS else HIDDEN,
            ctx=row.get("ctx", {}),
        )
        for row in error.errors()
    ]
    return ValidationError.from_exception_data(error.title, rows)
