"""A system in which nothing has happened yet: every page says so, and what to do."""

from __future__ import annotations

from starlette.testclient import TestClient

from jobclaim.dashboard import Person, Role, create_app
from tests.support.clock import START_MS
from tests.support.dashboard_data import shop

SAYS = {
    "": "No worker is alive",
    "jobs": "Nothing is open",
    "dead": "No dead letter waits for a person",
    "tasks": "No task has run since yesterday",
    "queues": "No breaker has counted a failure",
    "workers": "jobclaim worker run",
    "schedules": "Nothing is scheduled",
    "audit": "No retry, cancel or other change",
    "reconcile": "Table, fleet and queues agree",
}


def test_an_empty_system_says_what_to_do_instead_of_showing_nothing() -> None:
    with shop(lambda: START_MS, filled=False, schedules={}, recovery_by_beat=False) as services:
        app = create_app(services=services, access=lambda scope: Person("ada", Role.OPERATOR))
        browser = TestClient(app, base_url="http://127.0.0.1:8484")
        shown = {name: browser.get(f"/{name}").text for name in SAYS}
    assert {name: words in shown[name] for name, words in SAYS.items()} == dict.fromkeys(SAYS, True)
