"""Forms as browsers send them: bounded, one value per field."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from jobs import InvalidInput

MOST_FIELDS: Final = 50
MOST_BYTES: Final = 64_000


async def form_of(request: Request) -> dict[str, str]:
    """Read a form.

    Raises
    ------
    InvalidInput
        It is too large, is no form, or has a field twice.
    """
    body = await request.body()
    if len(body) > MOST_BYTES:
        raise InvalidInput(f"the form has {len(body)} bytes; {MOST_BYTES} are the most")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise InvalidInput("the request's body is no form; send it as application/x-www-form-urlencoded") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidInput(f"the form has the field {name[:40]!r} twice; send it once")
        found[name] = value
    return found
