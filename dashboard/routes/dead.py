"""`/dead`: dead letters in groups, actions on a group, and their progress."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from jobclaim.dashboard.meter import Budget, current
from jobclaim.dashboard.operations import Operation, Progress
from jobclaim.dashboard.pages import form, link, page, render, services_of
from jobclaim.dashboard.person import person_of
from jobclaim.dashboard.queries import dead
from jobclaim.dashboard.queries.cancels import CANCEL
from jobclaim.fleet.acting import recorded_elsewhere
from jobclaim.recovery.dead import VERBS, ActReport, DeadLetters, Filter, Verb


def show(request: Request) -> Response:
    """Show groups of dead letters.

    Renders ``dead.html`` with:

    ``groups``      list of records (`views.records.group_record`: fingerprint, count, kind, exception, where, task,
                    first_at_ms, last_at_ms, sample, message), each with ``jobs_url``, ``sample_url`` and ``acts``: by
                    verb, the URL of its preview; empty if nothing can be done
    ``query``       `jobclaim.dashboard.queries.dead.DeadQuery`: the requested filters
    ``states``      list of (state, URL) of the tabs: WAITING, SCHEDULED, RESOLVED, ABANDONED
    ``count``       matching dead letters among those read; ``looked_at`` is how many were read
    ``more_url``    groups of the next ones, or ``None`` at the end
    ``first_url``   the first view, or ``None`` on it
    ``operations``  list of `jobclaim.dashboard.operations.Operation`, each with its page in ``operation_url(key)``
    """
    services, query = services_of(request), dead.DeadQuery.of(request.query_params)
    meter = current()
    assert meter is not None
    groups = services.shared.get(("dead", query), lambda: dead.read(services, query, meter))
    kept, cursor = query.parameters(), groups.found.cursor
    context = {
        "groups": [_with_links(request, query, row) for row in groups.rows],
        "query": query,
        "states": [(str(state), link(request, "dead", {**kept, "state": str(state)})) for state in dead.STATES],
        "count": groups.count,
        "looked_at": groups.found.looked_at,
        "more_url": link(request, "dead", {**kept, "cursor": cursor}) if cursor else None,
        "first_url": link(request, "dead", kept) if query.cursor else None,
        "operations": services.operations.all(),
        "operation_url": lambda key: link(request, "operation", {"key": key}),
    }
    return render(request, "dead.html", context)


def preview(request: Request) -> Response:
    """Preview an action on a group.

    Renders ``dead_act.html`` with:

    ``act``       `jobclaim.dashboard.queries.dead.Act`: verb, query, limit, rate, reason
    ``groups``, ``count``, ``looked_at``     as on the page of groups, for the selected jobs
    ``complete``  whether ``count`` is all of them; else there are more
    ``cli``       the command that does the same
    ``fields``    hidden fields of the form, by name; the visible ones are ``limit``, ``rate`` and ``reason``
    ``back_url``  the page of groups

    The form is sent to ``url("dead_act_start")``.
    """
    services, act = services_of(request), dead.Act.of(request.query_params)
    now = services.clock()  # a URL cannot include jobs that fail after the preview
    act = replace(act, query=replace(act.query, until=min(act.query.until or now, now)))
    meter = current()
    assert meter is not None
    groups = dead.read(services, act.query, meter)
    context = {
        "act": act,
        "groups": groups.rows,
        "count": groups.count,
        "looked_at": groups.found.looked_at,
        "complete": groups.found.cursor is None,
        "cli": act.cli(),
        "fields": {**act.query.parameters(), "verb": act.verb, "expected": groups.count if _all(groups) else 0},
        "back_url": link(request, "dead", {"state": str(act.query.state)}),
    }
    return render(request, "dead_act.html", context)


def start(request: Request, fields: dict[str, str]) -> Response:
    """Start an action on a group; redirects to its page, whose URL is enough to start it again."""
    services, person = services_of(request), person_of(request)
    recorded_elsewhere()  # the operation's thread records what it does
    act = dead.Act.of(fields)
    if not act.query.until:
        fields = {**fields, "until": str(services.clock())}
        act = dead.Act.of(fields)
    selection = act.query.filter(services.clock())
    operation = services.operations.start(
        act.verb,
        selection,
        partial(_acting, services.letters, act.verb, selection),
        what=act.query.fingerprint or act.query.task or "all",
        by=person.name,
        reason=act.reason,
        limit=act.limit,
        rate=act.rate,
        expected=int(dead.number(fields.get("expected", ""), "expected", 0, most=dead.MOST_AT_ONCE)),
    )
    services.shared.forget()
    parameters = {
        **act.query.parameters(),
        "verb": act.verb,
        "limit": act.limit,
        "rate": f"{act.rate:g}",
        "reason": act.reason,
    }
    return RedirectResponse(link(request, "operation", {"key": operation.key, **parameters}), status_code=303)


def _acting(letters: DeadLetters, verb: Verb, selection: Filter, operation: Operation, progress: Progress) -> ActReport:
    return letters.act(
        verb,
        selection,
        by=operation.by,
        reason=operation.reason,
        limit=operation.limit,
        rate=operation.rate,
        progress=progress,
    )


def operation(request: Request) -> Response:
    """Show the progress of an action on many jobs.

    Renders ``operation.html`` with:

    ``operation``   `dashboard.operations.Operation` (state, share, report.matched, .done, .unsent, .refused, ...), or
                    ``None`` if this process does not know it: it was restarted, and the action can be started again
    ``refused``     list of (job id, URL of its page, reason)
    ``again_url``   its preview, to start it again; ``None`` if the URL does not describe the action
    ``live``        whether it runs
    ``back_url``    where such an action begins: the groups of dead letters, or the jobs
    """
    services, key = services_of(request), request.query_params.get("key", "")
    found = services.operations.get(key)
    parameters = {name: value for name, value in request.query_params.items() if name != "key"}
    context: dict[str, Any] = {
        "operation": found,
        "refused": _refused(request, found),
        # never a form: the URL may come from anyone, and the user has not seen what would be done
        "again_url": _preview_url(request, parameters),
        "live": found is not None and found.state == "running",
        "back_url": link(request, "jobs" if parameters.get("verb") == CANCEL else "dead"),
    }
    return render(request, "operation.html", context)


def stop(request: Request, fields: dict[str, str]) -> Response:
    """Stop an action on a group after its current job: field ``key``."""
    key = fields.get("key", "")
    services_of(request).operations.stop(key)
    return RedirectResponse(link(request, "operation", {"key": key}), status_code=303)


def _preview_url(request: Request, parameters: dict[str, str]) -> str | None:
    verb = parameters.get("verb")
    if verb == CANCEL:
        return link(request, "jobs_cancel", parse_qs(request.url.query))
    return link(request, "dead_act", parameters) if verb in VERBS else None


def _refused(request: Request, found: Operation | None) -> list[tuple[str, str, str]]:
    refused = list(found.report.refused) if found else []
    return [(job_id, link(request, "job", {"id": job_id}), why) for job_id, why in refused]


def _all(groups: dead.Groups) -> bool:
    return groups.found.cursor is None


def _with_links(request: Request, query: dead.DeadQuery, row: dict[str, Any]) -> dict[str, Any]:
    mark = {"fingerprint": row["fingerprint"], "kind": row["kind"], "state": str(query.state)}
    kept = {name: value for name, value in query.parameters().items() if name in ("task", "queue", "exception")}
    verbs = VERBS if query.state in dead.OPEN else ("retry",)
    # the jobs without a fingerprint form one group, which cannot be selected
    named = verbs if row["fingerprint"] else ()
    return {
        **row,
        "jobs_url": link(request, "jobs", {"status": "FAILED", **kept, **mark}),
        "sample_url": link(request, "job", {"id": row["sample"]}),
        "acts": {verb: link(request, "dead_act", {"verb": verb, **kept, **mark}) for verb in named},
    }


def _nothing(_: Any) -> Budget:
    return Budget(0)


ROUTES: Final[list[BaseRoute]] = [
    page("/dead", show, name="dead", budget=dead.budget),
    page("/dead/act", preview, name="dead_act", budget=dead.budget),
    form("/dead/act/start", start, name="dead_act_start", budget=_nothing),
    page("/dead/operation", operation, name="operation", budget=_nothing),
    form("/dead/operation/stop", stop, name="operation_stop", budget=_nothing),
]
