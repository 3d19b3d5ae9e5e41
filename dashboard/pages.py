"""How pages are rendered: their budget, their template, and the variables of every template.

Every template gets, besides the variables in its route's docstring:

``person``      `jobclaim.dashboard.person.Person`: name, role, ``may_act``
``meter``       `dashboard.meter.Meter`: requests, read_units, budget, ``words()``; complete when the template runs
``now``         epoch milliseconds of the page view
``settings``    `settings.Settings`
``here``        path and query of this view, for a form to come back to
``url(name, query=None, **path)``, ``static(path)``    links that hold under any mount point: ``url("job", {"id": x})``
filters         ``iso``, ``clock_time``, ``span``, ``ago`` (epoch milliseconds, seen from ``now``), ``percent``,
                ``compact``, ``pretty``, ``ticked``
``charts``      the module `jobclaim.dashboard.charts`
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from jobclaim.dashboard import charts
from jobclaim.dashboard.forms import form_of
from jobclaim.dashboard.meter import Budget, Meter, metered
from jobclaim.dashboard.person import person_of
from jobclaim.dashboard.recorded import recorded
from jobclaim.dashboard.services import Services
from jobclaim.jobs import JobStatus
from jobclaim.settings import Settings
from jobclaim.specs.visible import visible, visible_json
from jobclaim.views import humane
from jobclaim.views.records import compact

Endpoint: TypeAlias = Callable[[Request], Response]
BudgetOf: TypeAlias = Callable[[Settings], Budget]
"""A page's budget under given settings: it grows with their queues and index shards, never with the jobs."""

METER_KEY: Final = "jobclaim.meter"
ROOT_KEY: Final = "jobclaim.root"
"""Keys of the ASGI scope: the meter of this view, and where the whole app is mounted."""
RECORDED: Final = 2
"""Requests of a form for its entry in the audit trail."""
TEMPLATES: Final = Path(__file__).parent / "templates"


def environment() -> Environment:
    """Build the templates' environment: output is always escaped, and an undefined name is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(iso=humane.iso, clock_time=humane.clock_time, span=humane.span, compact=compact)
    made.filters.update(ago=humane.relative, percent=humane.percent)
    made.filters.update(pretty=pretty, ticked=ticked)
    made.globals["charts"] = charts
    made.globals["every_status"] = [str(status) for status in JobStatus]
    return made


class VisibleJSON(JSONResponse):
    """JSON with control characters escaped: a program reads them unchanged, a terminal shows the escapes."""

    def render(self, content: Any) -> bytes:
        """Serialize the body."""
        return visible_json(super().render(content).decode("utf-8", "surrogatepass")).encode()


class PageRoute(Route):
    """A page's route with its budget."""

    def __init__(
        self, path: str, endpoint: Callable[[Request], Any], budget: BudgetOf, methods: Sequence[str], name: str
    ) -> None:
        super().__init__(path, endpoint, methods=list(methods), name=name)
        self.budget = budget


def pretty(value: Any) -> str:
    """Write a JSON value over several lines."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)


def ticked(text: str) -> Markup:
    """Escape a text, and show the parts in backticks as code."""
    parts = [
        Markup("<code>{}</code>").format(part) if n % 2 else escape(part) for n, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def page(path: str, endpoint: Endpoint, *, name: str, budget: BudgetOf, methods: Sequence[str] = ("GET",)) -> PageRoute:
    """Build the route of a page and enforce its budget on every view."""

    @wraps(endpoint)
    def view(request: Request) -> Response:
        with metered(budget(services_of(request).settings)) as meter:
            request.scope[METER_KEY] = meter
            return endpoint(request)

    return PageRoute(path, view, budget, methods, name)


Handler: TypeAlias = Callable[[Request, dict[str, str]], Response]
"""Answers a form."""


def form(path: str, handler: Handler, *, name: str, budget: BudgetOf) -> PageRoute:
    """Build the route that a form is sent to; respond with a redirect (303), so that a reload does not repeat it."""

    def budget_of(settings: Settings) -> Budget:
        own = budget(settings)
        return own + Budget(RECORDED)

    def answer(request: Request, fields: dict[str, str]) -> Response:
        with metered(budget_of(services_of(request).settings)) as meter:
            request.scope[METER_KEY] = meter
            services, face = services_of(request), "api" if name.startswith("api_") else "dashboard"
            act = partial(handler, request, fields)
            return recorded(services, name.removeprefix("api_"), fields, person_of(request), face, act)

    @wraps(handler)
    async def view(request: Request) -> Response:
        return await run_in_threadpool(answer, request, await form_of(request))

    return PageRoute(path, view, budget_of, ["POST"], name)


def services_of(connection: HTTPConnection) -> Services:
    """Return the services of the request's app."""
    found = connection.app.state.services
    assert isinstance(found, Services)
    return found


def render(request: Request, template: str, context: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
    """Render a template with the common variables."""
    services = services_of(request)
    meter = request.scope.get(METER_KEY) or Meter(Budget(0))
    known = {
        "person": person_of(request),
        "meter": meter,
        "now": services.clock(),
        "settings": services.settings,
        "here": here(request),
        "url": partial(link, request),
        "static": lambda path: link(request, "static", path=path),
    }
    made: Environment = request.app.state.templates
    return HTMLResponse(visible(made.get_template(template).render({**known, **context})), status_code=status)


def link(request: HTTPConnection, name: str, /, query: Mapping[str, Any] | None = None, **path: Any) -> str:
    """Return the path of a route below the app's mount point; never a host, which a client could have forged.

    Parameters
    ----------
    query : mapping, optional
        Query parameters; empty values are left out, and a list repeats its name.
    """
    found = quote(str(request.app.url_path_for(name, **path)), safe="/")
    kept = {key: value for key, value in (query or {}).items() if value not in (None, "", [], ())}
    return str(request.scope.get(ROOT_KEY, "")) + found + (f"?{urlencode(kept, doseq=True)}" if kept else "")


def here(request: Request) -> str:
    """Return path and query of a view."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
