"""What needs attention now: alerts, pauses, queues without workers, unusual tasks; each with advice."""

from __future__ import annotations

from dataclasses import dataclass

from jobclaim.dashboard.queries import fleet, queues
from jobclaim.dashboard.queries.ended import Lately
from jobclaim.dashboard.queries.fleet import Fleet
from jobclaim.dashboard.queries.queues import QueuesView
from jobclaim.jobs.storage.pauses import PauseKind
from jobclaim.settings import Settings
from jobclaim.views.humane import relative, span
from jobclaim.views.pauses import pause_in_words
from jobclaim.views.unusual import Unusual


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that needs attention.

    Attributes
    ----------
    tone : str
        ``bad`` or ``warn``.
    """

    tone: str
    text: str
    advice: str
    page: str
    query: dict[str, str]


def needs(seen: QueuesView, known: Fleet, lately: Lately, now: int, settings: Settings) -> list[Need]:
    """Return what needs attention, worst first."""
    found = [
        *(
            Need(
                tone="bad", text=one.text, advice=f"Raised {relative(one.since, now)}.", page=_page(one.name), query={}
            )
            for one in known.alerts
        ),
        *_of_pauses(seen, now),
        *_of_queues(seen, known),
        *_of_fleet(known, now, settings),
    ]
    if lately.waiting and not any(one.name == "waiting" for one in known.alerts):
        text = f"{lately.waiting}{'+' * lately.waiting_more} dead letters wait for a person."
        found.append(Need(tone="warn", text=text, advice="Retry, resolve or abandon them.", page="dead", query={}))
    return sorted(found, key=lambda need: need.tone != "bad")


def of_task(one: Unusual) -> Need:
    """Return what a task's unusual figures ask for."""
    advice = "Look at its failures and at what changed." if one.what == "failures" else "Look at what it waits for."
    return Need(tone="warn", text=f"Task {one.task}: {one.text}.", advice=advice, page="task", query={"name": one.task})


def _page(alert: str) -> str:
    if alert.startswith("sla:"):
        return "queues"
    return {"waiting": "dead", "critical": "dead", "duplicates": "jobs"}.get(alert, "workers")


def _of_pauses(seen: QueuesView, now: int) -> list[Need]:
    return [
        Need(
            tone="warn",
            text=f"{pause_in_words(one, now)}.",
            advice=f"To end it: jobclaim unpause {one.subject}",
            page="schedules" if one.kind == PauseKind.SCHEDULE else "queues",
            query={},
        )
        for one in seen.pauses
    ]


def _of_queues(seen: QueuesView, known: Fleet) -> list[Need]:
    raised = {one.name for one in known.alerts}
    found = [
        Need(
            tone="bad" if queue.tone == "bad" else "warn",
            text=_queue_text(queue),
            advice=queue.advice,
            page="queues",
            query={},
        )
        for queue in seen.queues
        if queue.advice and f"sla:{queue.name}" not in raised
    ]
    found += [
        Need(
            tone="warn",
            text=f"Breaker {one.name} is {one.state}: its service counts as down.",
            advice="Its jobs are released, uncharged, until the service answers.",
            page="queues",
            query={},
        )
        for one in seen.breakers
        if one.state != "closed"
    ]
    return found


def _queue_text(queue: queues.QueueView) -> str:
    if queue.state == "no worker":
        return f"No worker listens on queue {queue.name}."
    if queue.state == "ok":
        return f"SQS's dead-letter queue of {queue.name} is not empty."
    return f"Queue {queue.name} is {queue.state}."


def _of_fleet(known: Fleet, now: int, settings: Settings) -> list[Need]:
    alive = known.alive(now, settings.worker_dead_after_seconds)
    found: list[Need] = []
    dead = [one for one in known.workers if one not in alive]
    if dead:
        names = ", ".join(one.worker_id for one in dead[:3]) + " ..." * (len(dead) > 3)
        text = f"{len(dead)} {'worker is' if len(dead) == 1 else 'workers are'} lost: {names}."
        found.append(
            Need(tone="bad", text=text, advice="Recovery fails or retries their jobs.", page="workers", query={})
        )
    if not alive:
        advice = "Start one: jobclaim worker run"
        found.append(Need(tone="warn", text="No worker is alive.", advice=advice, page="workers", query={}))
    silent = now - known.evaluated_at if known.evaluated_at else 0
    if silent > settings.alert_silence_seconds * 1000:
        text = f"Recovery was silent for {span(silent)}: orphans and lost messages wait as long."
        found.append(
            Need(tone="bad", text=text, advice="Is its schedule running? jobclaim doctor", page="workers", query={})
        )
    versions = sorted({one.version for one in alive})
    if len(versions) > 1:
        text = f"Several versions run at once: {', '.join(versions)}."
        advice = "That is normal only during a deployment."
        found.append(Need(tone="warn", text=text, advice=advice, page="workers", query={}))
    if fleet.differing(alive, settings):
        text, advice = "Live workers have different settings.", "That is normal only during a deployment."
        found.append(Need(tone="warn", text=text, advice=advice, page="workers", query={}))
    return found
