"""Jobs, workers and breakers that carry markup wherever they can carry text, and what a page must not make of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import urlsplit

from jobclaim.fleet import alerts
from jobclaim.fleet.audit import Audit
from jobclaim.fleet.breaker import Breaker, Breakers
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import Job, JobRepo
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.model import Failure, FailureKind
from jobclaim.workers.messages.envelope import seal

PROBE = (
    "\"'><xss-probe onclick=xss()></xss-probe><script>xss()</script><img src=x onerror=xss()>"
    "{{19181*7717}}{%raw%}</textarea></title></script><!--"
)
"""Ends attributes, elements, scripts and comments, and is a template's expression."""
SCHEME = "javascript:xss()//"
EVALUATED = str(19181 * 7717)
URLS = frozenset({"href", "src", "action", "formaction", "hx-get", "hx-post", "poster", "data", "xlink:href"})


def fill(repo: JobRepo) -> list[Job]:
    """Write jobs in every state, and a fleet, whose every text is hostile."""
    jobs = [_waiting(repo, "waiting"), _running(repo), _failed(repo), _completed(repo), _cancelled(repo)]
    again = _failed(repo, "-again")
    jobs.append(repo.retry_job(again.job_id, by=PROBE, reason=PROBE))
    jobs += [_waiting(repo, "scheme", task=SCHEME, job_id=SCHEME), _waiting(repo, "keyed")]
    repo.statistics.flush()
    _fleet(repo)
    trail = Audit.of(repo)
    trail.end(trail.begin("cancel", by=PROBE, why=PROBE, what=PROBE), done=1, refused=1)
    return jobs


def _waiting(repo: JobRepo, name: str, *, task: str = PROBE, job_id: str = "") -> Job:
    values = [PROBE, {PROBE: [PROBE]}]
    bound = {"root_id": PROBE, "parent_id": SCHEME, "group_id": PROBE, "chain": [{"task": PROBE, "options": {}}]}
    return repo.create_job(
        task,
        {"args": values, "kwargs": {PROBE: PROBE, "plain": PROBE}},
        job_id=None if name == "keyed" else job_id or f"{PROBE}-{name}",
        idempotency_key=PROBE if name == "keyed" else None,
        envelope=seal({**bound, "headers": {PROBE: PROBE}, "shadow": PROBE}),
    )


def _running(repo: JobRepo, name: str = "running") -> Job:
    job = _waiting(repo, name)
    repo.claim_job(job.job_id, worker_id=PROBE, celery_task_id=PROBE)
    return repo.get_job(job.job_id)


def _failed(repo: JobRepo, name: str = "") -> Job:
    job = _running(repo, f"failed{name}")
    failure = Failure(
        kind=FailureKind.PERMANENT,
        exception=PROBE,
        message=PROBE,
        traceback=f"Traceback\n  {PROBE}",
        at=repo.clock(),
        where=PROBE,
        fingerprint=f"{PROBE[:50]}{name}",
    )
    return repo.update_status(job.job_id, "FAILED", error=failure)


def _completed(repo: JobRepo) -> Job:
    return repo.update_status(_running(repo, "completed").job_id, "COMPLETED", result={PROBE: [PROBE]})


def _cancelled(repo: JobRepo) -> Job:
    return repo.cancel_job(_waiting(repo, "cancelled").job_id, reason=PROBE)


def _fleet(repo: JobRepo) -> None:
    now = repo.clock()
    for name in (PROBE, SCHEME):
        record = WorkerRecord(
            worker_id=name,
            seen_at=now,
            started_at=now,
            queues=(PROBE, "default"),
            jobs=(f"{PROBE}-running", PROBE),
            version=PROBE,
            host=PROBE,
            pid=1,
            concurrency=2,
        )
        FleetRecords.of(repo).beat(record)
    Breakers.of(repo).failed(Breaker(name=PROBE, failures=1))
    said = {PROBE: {"since": now, "fired_at": now, "said_at": now, "text": PROBE}}
    repo.table.client().put_item(
        TableName=repo.settings.fleet_table,
        Item={
            schema.FLEET_KEY: attribute(alerts.KEY),
            "evaluated_at": attribute(now),
            "said": attribute(json.dumps(said)),
        },
    )


class Page(HTMLParser):
    """Reads a page as a browser does: what it links to, and what in it nobody of us has written."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.wrong: list[str] = []
        self.text = ""
        self._html = html
        self.feed(html)
        if EVALUATED in html:
            self.wrong.append("an expression was evaluated")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        given = dict(attrs)
        self.wrong += list(_wrong(tag, given))
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))

    def handle_data(self, data: str) -> None:
        """Keep what people read."""
        self.text += data


def _wrong(tag: str, attrs: dict[str, str | None]) -> Iterator[str]:
    if tag in ("xss-probe", "style", "iframe", "object", "embed", "base"):
        yield f"<{tag}>"
    if tag == "script" and not str(attrs.get("src") or "").split("?")[0].endswith(".js"):
        yield "a script inside the page"
    if tag == "img" and attrs.get("src") == "x":
        yield "an image of the probe"
    for name, value in attrs.items():
        if name.startswith(("on", "hx-on")) or name == "style" or "xss" in name:
            yield f"<{tag} {name}>"
        if name in URLS and not _is_ours(value or ""):
            yield f"<{tag} {name}={value}>"


def _is_ours(address: str) -> bool:
    """Whether an address stays with the dashboard."""
    parts = urlsplit(address)
    return not parts.scheme and not parts.netloc and not address.startswith(("//", "\\", "/\\"))
