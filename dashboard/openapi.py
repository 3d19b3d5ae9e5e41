"""Calls of the JSON API, and their description as OpenAPI; `dashboard.describe` writes the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jobclaim.dashboard.pages import BudgetOf
from jobclaim.dashboard.services import Services
from jobclaim.views.schemas import SCHEMAS, STRING, Schema, many, record

VERSION: Final = "1"
ERROR: Final = record(
    {"error": record({"status": {"type": "integer"}, "title": STRING, "message": STRING}, "What to do about it.")},
    "A refusal.",
)
FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A query parameter, or a form field."""

    name: str
    description: str
    schema: Schema
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of the API: its parameters, its response, and its handler.

    Attributes
    ----------
    path : str
        Below ``/api/v1``.
    parameters : sequence of Parameter
        Query parameters of a GET, form fields of a POST.
    handler : callable
        ``handler(services, asked, person)`` returns the response.
    refusals : sequence of int
        HTTP error statuses besides 400, 403 and 503.
    """

    path: str
    method: str
    name: str
    summary: str
    answer: Schema
    handler: Callable[[Services, Any, Any], Any]
    budget: BudgetOf
    parameters: Sequence[Parameter] = ()
    refusals: Sequence[int] = ()


REASONS: Final[Mapping[int, str]] = {
    400: "A parameter is unknown or out of range.",
    403: "Not signed in, not an operator, or a request from another site.",
    404: "The job does not exist.",
    409: "The job is in a state that does not allow the action.",
    503: "AWS is unavailable: the message says why and what to do.",
}


def reference(name: str) -> Schema:
    """Return a reference to a record's schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def listing(name: str, **extra: Schema) -> Schema:
    """Return the schema of a list as ``-o json`` writes it."""
    return record({"items": many(reference(name)), **extra}, "A list.")


def document(calls: Sequence[Call]) -> dict[str, Any]:
    """Build the OpenAPI 3.1 document of the calls."""
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(f"/api/v1{call.path}", {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "jobclaim dashboard",
            "version": VERSION,
            "description": "The same records as `jobclaim ... -o json`. The header X-Jobclaim-Cost holds the cost of "
            "the response. Values are hidden as on the pages.",
        },
        "paths": paths,
        "components": {"schemas": {**SCHEMAS, "Error": ERROR}},
    }


def _operation(call: Call) -> dict[str, Any]:
    refusals = {
        str(status): {"description": REASONS[status], "content": _json(reference("Error"))}
        for status in sorted({400, 403, 503, *call.refusals})
        if status != 403
    }
    refusals["403"] = {"description": REASONS[403], "content": {"text/plain": {"schema": STRING}}}
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "responses": {"200": {"description": "The answer.", "content": _json(call.answer)}, **refusals},
    }
    if call.method == "GET":
        operation["parameters"] = [_parameter(parameter) for parameter in call.parameters]
    else:
        operation["requestBody"] = {"required": True, "content": {FORM: {"schema": _form(call.parameters)}}}
    return operation


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "required": parameter.required,
        "schema": parameter.schema,
    }


def _form(fields: Sequence[Parameter]) -> Schema:
    return {
        "type": "object",
        "properties": {field.name: {**field.schema, "description": field.description} for field in fields},
        "required": [field.name for field in fields if field.required],
    }


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
