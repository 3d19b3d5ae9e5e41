"""Error responses: a page, or JSON under ``/api``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from jobclaim.dashboard.pages import ROOT_KEY, VisibleJSON, render
from jobclaim.jobs import (
    IllegalTransition,
    InvalidInput,
    JobError,
    JobNotFound,
    ResumeRefused,
    StoreUnavailable,
    WrongWaitToken,
)
from jobclaim.jobs.failures.aws_errors import aws_error_in, explain_aws

STATUS: Final[Mapping[type[Exception], int]] = {
    JobNotFound: 404,
    InvalidInput: 400,
    IllegalTransition: 409,
    WrongWaitToken: 403,
    ResumeRefused: 409,
    StoreUnavailable: 503,
    JobError: 500,
}
TITLES: Final = {
    400: "Bad request",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    500: "Internal error",
    503: "AWS is unavailable",
}


def refused(request: Request, error: Exception) -> Response:
    """Respond to an error that our own code raised.

    Renders ``error.html`` with ``status`` (int), ``title`` and ``message`` (str; the message says what to do).
    """
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return answer(request, status, str(error))


def http(request: Request, error: Exception) -> Response:
    """Respond to an error of Starlette's: unknown page, or method not allowed. Renders the template of `refused`."""
    assert isinstance(error, HTTPException)
    return answer(request, error.status_code, str(error.detail), headers=error.headers)


def unexpected(request: Request, error: Exception) -> Response:
    """Respond to an error of AWS with what to do, and to a bug with its name; the log has the traceback.

    Renders the template of `refused`.
    """
    if (of_aws := aws_error_in(error)) is not None:
        return answer(request, 503, explain_aws(of_aws))
    return answer(
        request, 500, f"An unexpected {type(error).__name__} was raised; its traceback is in the dashboard's log."
    )


def answer(request: Request, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Build the error response, as a page or as JSON."""
    title = TITLES.get(status, "Refused")
    response: Response
    if is_api(request):
        response = VisibleJSON({"error": {"status": status, "title": title, "message": message}}, status_code=status)
    else:
        response = render(request, "error.html", {"status": status, "title": title, "message": message}, status=status)
    response.headers.update(headers or {})
    return response


def is_api(request: Request) -> bool:
    """Return whether the request is for the API."""
    root = str(request.scope.get(ROOT_KEY, ""))
    return request.url.path.removeprefix(root).startswith("/api/")


HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Response]]] = {
    HTTPException: http,
    JobError: refused,
    Exception: unexpected,
}
