"""Parsing of values that environment variables can only give as text, and masking of secrets in errors."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails
from pydantic_settings import NoDecode

T = TypeVar("T")

SECRET_FIELDS: Final = frozenset({"dashboard_users"})
"""Fields whose values no message quotes: a password may be written by mistake where its hash belongs."""
HIDDEN: Final = "(not shown)"


def from_json(value: Any, info: ValidationInfo) -> Any:
    """Parse a table or list given as JSON; any value that is not text is returned unchanged.

    Raises
    ------
    ValueError
        The text is not JSON; the message names the field and shows the form.
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
    """Parse ``["a", "b"]`` or ``a,b``; any value that is not text is returned unchanged.

    Raises
    ------
    ValueError
        The text begins like a JSON list but is not one; the message names the field and shows both forms.
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
    """Check the URL of an endpoint; an empty one, as in compose files, means none.

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
"""A field that is given as JSON where only text is possible."""
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(from_list)]
"""A field of names, as a list or separated by commas."""
EndpointUrl = Annotated[str | None, AfterValidator(endpoint_url)]


def without_secrets(error: ValidationError) -> ValidationError:
    """Hide the values of secret fields, and all values together, because a check of the whole model receives them."""
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
