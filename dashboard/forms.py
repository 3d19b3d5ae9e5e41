"""Names in URLs and forms, and forms as browsers send them: one value per field.

`jobclaim.dashboard.security.limits.FormGuard` limits them.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

from starlette.requests import Request

from jobclaim.jobs import InvalidInput
from jobclaim.specs.refusals import did_you_mean


async def form_of(request: Request) -> dict[str, str]:
    """Read a form.

    Raises
    ------
    InvalidInput
        It is not a form, or has a field twice.
    """
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except ValueError:
        raise InvalidInput("the request's body is not a form; send it as application/x-www-form-urlencoded") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidInput(f"the form has the field {name[:40]!r} twice; send it once")
        found[name] = value
    return found


def refuse_unknown_names(given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a name that would be ignored: a misspelled filter must not list everything.

    Raises
    ------
    InvalidInput
        The message names it, the closest known one, and all of them.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            raise InvalidInput(f"unknown parameter {name[:40]!r}{did_you_mean(name, names)}; use one of {names}")
