"""A shop's jobs for the dashboard to show: every state, a chain, an orphan, dead letters, a breaker, alerts, schedules.

Made in memory by a clock that goes where it is put, so that a day of work is there at once and always the same.
``python -m tests.support.dashboard_data`` serves it on a free port of loopback.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest import mock

from jobclaim.dashboard.meter import Metered
from jobclaim.dashboard.services import Services
from jobclaim.dashboard.sharing import Shared
from jobclaim.fleet.alerts import KEY as ALERTS
from jobclaim.fleet.breaker import PREFIX as BREAKER
from jobclaim.fleet.workers import FleetRecords, WorkerRecord
from jobclaim.jobs import FailureKind, JobRepo, JobStatus
from jobclaim.jobs.clock import Clock, system_clock
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.jobs.failures.description import describe
from jobclaim.jobs.model import Failure, Job
from jobclaim.jobs.protocol.histogram import bucket_of
from jobclaim.jobs.repo import rescue
from jobclaim.jobs.storage.connect import client
from jobclaim.jobs.storage.counters import PREFIX as TALLY
from jobclaim.jobs.storage.counters import WINDOW_MS
from jobclaim.jobs.storage.statistics import Code, requests
from jobclaim.settings import DEAD_LETTER_SUFFIX, ScheduleSpec, Settings
from jobclaim.testing.table import FAKE
from jobclaim.workers.messages.envelope import seal
from tests.simulation.client import in_model

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
CHAIN: Final = ("orders.import-2026-11", "orders.enrich-2026-11", "orders.settle-2026-11")
RUNNING: Final = "reports.daily-revenue-0412"
ORPHAN: Final = "documents.ocr-88231"
FAILED: Final = "payments.charge-77120"
TRACEBACK: Final = """Traceback (most recent call last):
  File "/srv/shop/tasks/payments.py", line 48, in charge
    answer = gateway.charge(order, amount, timeout=8)
  File "/srv/shop/gateways/acme.py", line 112, in charge
    raise GatewayTimeout(f"no answer within {timeout} s")
shop.gateways.acme.GatewayTimeout: no answer within 8 s
"""


class MovableClock:
    """A clock that is put anywhere, forward or back."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self) -> int:
        """Epoch milliseconds."""
        return self.at


class Shop:
    """Writes a day of a shop's jobs.

    Parameters
    ----------
    now : int
        When the day ends, epoch milliseconds.
    """

    def __init__(self, settings: Settings, dynamodb: Any, now: int) -> None:
        self.now = now
        self.clock = MovableClock(now)
        self.repo = JobRepo.from_settings(settings, client=dynamodb, clock=self.clock)
        self.fleet = FleetRecords(lambda: dynamodb, settings.fleet_table, clock=self.clock, sleep=lambda _: None)
        self.dynamodb = dynamodb
        self.settings = settings
        self.chance = random.Random(7)

    def fill(self, days: int) -> None:
        """Write it all, statistics of so many days among it."""
        self.completed()
        self.dead_letters()
        self.waiting()
        self.chain()
        self.orphan()
        self.workers(self.running())
        self.fleet_records()
        self.ticks()
        self.statistics(days)

    def submit(self, ago: float, task: str, queue: str, **options: Any) -> Job:
        """Submit a job so many milliseconds ago."""
        self.clock.at = self.now - round(ago)
        payload = options.pop("payload", {"args": [], "kwargs": {"order_id": self.chance.randrange(70_000, 80_000)}})
        return self.repo.create_job(task, payload, queue=queue, **options)

    def claim(self, job: Job, ago: float, worker: str) -> Job:
        """Claim it so many milliseconds ago."""
        self.clock.at = self.now - round(ago)
        claimed = self.repo.claim_job(job.job_id, worker_id=worker, celery_task_id=job.job_id)
        assert claimed is not None
        return claimed

    def end(self, job: Job, ago: float, status: JobStatus, **outcome: Any) -> Job:
        """End it so many milliseconds ago."""
        self.clock.at = self.now - round(ago)
        return self.repo.update_status(job.job_id, status, **outcome)

    def completed(self) -> None:
        """Write what went well in the last half hour."""
        for _ in range(90):
            task, queue = self.chance.choice(WORK)
            ago = self.chance.uniform(20 * SECOND, 30 * MINUTE)
            job = self.submit(ago, task, queue)
            self.claim(job, ago - self.chance.uniform(50, 900), self.chance.choice(WORKERS[:3]))
            self.end(job, max(SECOND, ago - self.chance.uniform(SECOND, 18 * SECOND)), JobStatus.COMPLETED, result="ok")
        job = self.submit(7 * MINUTE, "newsletter.send", "email", job_id="newsletter.send-autumn")
        self.clock.at = self.now - 6 * MINUTE
        self.repo.cancel_job(job.job_id, reason="cancelled by ada: sent to the wrong list")

    def dead_letters(self) -> None:
        """Write four troubles, one of them large, one that recovery retries by itself."""
        for n, (count, task, queue, failure) in enumerate(TROUBLES):
            for m in range(count):
                ago = self.chance.uniform(4 * MINUTE, 3 * HOUR)
                name = FAILED if (n, m) == (0, 0) else f"{task}-{77_200 + 31 * m + 7 * n}"
                job = self.submit(ago, task, queue, job_id=name, max_attempts=3)
                for attempt in range(3):
                    if self.repo.get_job(job.job_id).status is not JobStatus.PENDING:
                        break
                    start = ago - (attempt * 70 + 1) * SECOND
                    self.claim(job, start, self.chance.choice(WORKERS[:3]))
                    if attempt < 2:
                        self.clock.at = self.now - round(start - 8 * SECOND)
                        self.repo.reschedule(job.job_id, error=failure, available_at=self.clock.at + 60 * SECOND)
                    else:
                        self.end(job, start - 8 * SECOND, JobStatus.FAILED, error=failure)

    def waiting(self) -> None:
        """Write what waits: reports are late, e-mail is at risk, one job is due tomorrow."""
        for task, queue, count, longest in QUEUED:
            for n in range(count):
                self.submit(longest * SECOND * (count - n) / count, task, queue)
        tomorrow = self.now + 9 * HOUR
        self.submit(3 * HOUR, "invoices.remind", "email", available_at=tomorrow, job_id="invoices.remind-4410")

    def chain(self) -> None:
        """Write a chain of three: done, running, not a job yet."""
        following = [
            {"task": f"orders.{name}", "options": {"task_id": job_id}}
            for name, job_id in zip(("enrich", "settle"), CHAIN[1:], strict=True)
        ]
        first = seal({"chain": following[::-1], "root_id": CHAIN[0]})
        second = seal({"chain": following[1:], "root_id": CHAIN[0], "parent_id": CHAIN[0]})
        job = self.submit(95 * SECOND, "orders.import", "high_priority", job_id=CHAIN[0], envelope=first)
        self.claim(job, 94 * SECOND, WORKERS[0])
        self.end(job, 41 * SECOND, JobStatus.COMPLETED, result={"orders": 1204, "skipped": 3})
        job = self.submit(41 * SECOND, "orders.enrich", "high_priority", job_id=CHAIN[1], envelope=second)
        self.claim(job, 40 * SECOND, WORKERS[0])

    def orphan(self) -> None:
        """Write a job whose worker was lost: recovery had it tried again, and it runs."""
        job = self.submit(9 * MINUTE, "documents.ocr", "reports", job_id=ORPHAN, on_orphan="retry", max_attempts=3)
        claimed = self.claim(job, 8.5 * MINUTE, DEAD)
        self.clock.at = self.now - 6 * MINUTE
        lost = describe(f"worker {DEAD} was not seen for 60 s", self.clock.at, FailureKind.ORPHANED)
        rescue.orphan_retry(self.repo, claimed, lost)
        self.claim(self.repo.get_job(ORPHAN), 5.2 * MINUTE, WORKERS[1])

    def running(self) -> dict[str, list[str]]:
        """Write what runs; by worker."""
        held: dict[str, list[str]] = {WORKERS[0]: [CHAIN[1]], WORKERS[1]: [ORPHAN]}
        job = self.submit(14 * MINUTE, "reports.daily_revenue", "reports", job_id=RUNNING)
        self.claim(job, 13.6 * MINUTE, WORKERS[1])
        held[WORKERS[1]].append(RUNNING)
        for n in range(6):
            task, queue = self.chance.choice(WORK)
            worker = WORKERS[n % 3]
            job = self.submit(12 * SECOND, task, queue)
            self.claim(job, self.chance.uniform(SECOND, 9 * SECOND), worker)
            held.setdefault(worker, []).append(job.job_id)
        stale = self.submit(4 * MINUTE, "documents.thumbnail", "external_api", job_id="documents.thumbnail-5520")
        self.claim(stale, 3.5 * MINUTE, DEAD)
        held[DEAD] = [stale.job_id]
        return held

    def workers(self, held: dict[str, list[str]]) -> None:
        """Write the fleet: three alive, one stopping, one dead."""
        about = (
            (WORKERS[0], 3, ("critical", "high_priority", "email"), 8, "1.14.2"),
            (WORKERS[1], 6, ("reports", "maintenance"), 4, "1.14.2"),
            (WORKERS[2], 8, ("email", "external_api", "default"), 8, "1.14.2"),
            (WORKERS[3], 2, ("recovery",), 1, "1.14.1"),
            (DEAD, 98, ("reports", "external_api"), 4, "1.14.1"),
        )
        for n, (name, silent, queues, slots, version) in enumerate(about):
            seen = self.now - silent * SECOND
            self.fleet.beat(
                WorkerRecord(
                    worker_id=name,
                    seen_at=seen,
                    started_at=self.now - (n + 2) * 5 * HOUR,
                    queues=queues,
                    pid=17 + n,
                    jobs=tuple(held.get(name, ())),
                    version=version,
                    host=name.partition("@")[2],
                    concurrency=slots,
                )
            )
        self.fleet.ask_to_drain(WORKERS[3])

    def fleet_records(self) -> None:
        """Write breakers, counts and alerts."""
        self.put(f"{BREAKER}acme-payments", streak=11, open_until=self.now + 19 * SECOND)
        self.put(f"{BREAKER}geocoder", streak=2)
        last = self.now // WINDOW_MS * WINDOW_MS
        for n in range(12):
            busy = round(140 + 60 * self.chance.random() + (180 if n in (3, 4) else 0))
            self.put(f"{TALLY}{last - n * WINDOW_MS}", submitted=busy, duplicates=self.chance.randrange(2, 9))
        text = "a job of queue 'reports' waits 214 s, its SLA is 60 s; are there workers enough for it?"
        since = self.now - 4 * MINUTE
        said = {"sla:reports": {"since": since, "fired_at": self.now - MINUTE, "said_at": since, "text": text}}
        self.put(ALERTS, evaluated_at=self.now - 25 * SECOND, said=json.dumps(said))

    def put(self, key: str, **fields: Any) -> None:
        """Put a record into the fleet table."""
        item = {schema.FLEET_KEY: attribute(key), **{name: attribute(value) for name, value in fields.items()}}
        self.dynamodb.put_item(TableName=self.settings.fleet_table, Item=item)

    def ticks(self) -> None:
        """Write the last results of the schedules."""
        from datetime import UTC, datetime

        from jobclaim.dashboard.queries.schedules import entries_of, last_ticks

        moment = datetime.fromtimestamp(self.now / 1000, UTC)
        for entry in entries_of(self.settings):
            for n, tick in enumerate(last_ticks(entry, moment, 5)):
                ago = max(2 * SECOND, self.now - tick.at)
                job = self.submit(ago, entry.task, self.settings.queue_of(entry.task), job_id=tick.job_id)
                self.claim(job, ago - SECOND, WORKERS[1])
                failed = entry.name == "sync-warehouse" and n == 1
                outcome: dict[str, Any] = {"error": TROUBLES[2][3]} if failed else {"result": None}
                self.end(job, ago - 1500, JobStatus.FAILED if failed else JobStatus.COMPLETED, **outcome)

    def statistics(self, days: int) -> None:
        """Write days of runs; one task fails unusually often of late, and one got slow."""
        last = self.now // HOUR
        numbers: Counter[tuple[int, str, str]] = Counter()
        for task, an_hour, fails, took, waited in RAN:
            for hour in range(last - (days - 1) * 24, last + 1):
                recent, daily = hour > last - 2, 0.6 + 0.4 * math.sin((hour % 24 - 9) * math.pi / 12)
                runs = round(an_hour * daily * self.chance.uniform(0.9, 1.1))
                failed = round(runs * fails * (25 if recent and task == "payments.capture" else 1))
                slower = 4 if recent and task == "reports.customer_export" else 1
                numbers[hour, task, Code.COMPLETED] += runs - failed
                numbers[hour, task, Code.RETRIED if hour % 5 else Code.FAILED] += failed
                numbers[hour, task, Code.RETRY_COMPLETED if hour % 9 else Code.RETRY_FAILED] += failed
                numbers[hour, task, Code.HEALED] += failed // 3
                for step, share in enumerate((0.1, 0.5, 0.25, 0.1, 0.05), start=-1):
                    numbers[hour, task, f"{Code.DURATION}{bucket_of(slower * took) + step}"] += round(runs * share)
                    numbers[hour, task, f"{Code.WAIT}{bucket_of(waited) + step}"] += round(runs * share)
        items: dict[str, dict[str, Any]] = {}
        for request in requests(numbers, self.settings.job_table):
            values = {name[1:]: value for name, value in request["ExpressionAttributeValues"].items()}
            names = {schema.TTL: values.pop("ttl"), "state_key": values.pop("hash"), "state_at": values.pop("day")}
            items.setdefault(request["Key"]["job_id"]["S"], {}).update(request["Key"] | names | values)
        for item in items.values():
            self.dynamodb.put_item(TableName=self.settings.job_table, Item=item)


RAN: Final = (
    ("payments.capture", 280, 0.004, 900, 180),
    ("orders.confirm", 160, 0.004, 240, 90),
    ("mail.receipt", 30, 0.02, 700, 1_400),
    ("geo.locate_address", 12, 0.06, 350, 800),
    ("reports.customer_export", 60, 0.02, 41_000, 9_000),
)
"""Task, runs an hour on average, share that fails, and typical duration and wait in milliseconds."""
WORKERS: Final = (
    "api-7f9c@ip-10-0-3-11",
    "batch-2b1d@ip-10-0-3-40",
    "mail-91ac@ip-10-0-4-8",
    "recovery-0d@ip-10-0-4-9",
)
DEAD: Final = "batch-5e77@ip-10-0-3-62"
WORK: Final = (
    ("payments.capture", "critical"),
    ("orders.confirm", "high_priority"),
    ("mail.receipt", "email"),
    ("mail.shipping_update", "email"),
    ("geo.locate_address", "external_api"),
)
QUEUED: Final = (
    ("reports.customer_export", "reports", 14, 214),
    ("mail.receipt", "email", 6, 3.4),
    ("orders.confirm", "high_priority", 2, 0.4),
)


def _failure(kind: FailureKind, exception: str, message: str, where: str, mark: str, trace: str = TRACEBACK) -> Failure:
    return Failure(kind=kind, exception=exception, message=message, where=where, fingerprint=mark, traceback=trace)


TROUBLES: Final = (
    (
        23,
        "payments.charge",
        "critical",
        _failure(
            FailureKind.PERMANENT,
            "shop.gateways.acme.GatewayTimeout",
            "no answer within 8 s",
            "shop/gateways/acme.py:charge",
            "5f1c8f3e2a57",
        ),
    ),
    (
        6,
        "documents.parse_invoice",
        "reports",
        _failure(
            FailureKind.PERMANENT,
            "ValueError",
            "invoice has no total: page 2 is blank",
            "shop/tasks/documents.py:parse_invoice",
            "b02e91c4d7aa",
            "",
        ),
    ),
    (
        2,
        "warehouse.sync",
        "external_api",
        _failure(
            FailureKind.TIMEOUT,
            "celery.exceptions.SoftTimeLimitExceeded",
            "soft time limit of 540 s exceeded",
            "shop/tasks/warehouse.py:sync",
            "77aa01bc93fe",
            "",
        ),
    ),
    (
        4,
        "geo.locate_address",
        "external_api",
        _failure(
            FailureKind.EXTERNAL,
            "httpx.ConnectError",
            "geocoder.example refused the connection",
            "shop/gateways/geo.py:locate",
            "1d4411e09c2b",
            "",
        ),
    ),
)
SCHEDULES: Final = {
    "nightly-revenue": ScheduleSpec(task="reports.daily_revenue", cron="15 2 * * *"),
    "sync-warehouse": ScheduleSpec(task="warehouse.sync", cron="*/20 6-20 * * *"),
    "expire-carts": ScheduleSpec(task="carts.expire", every=900),
    "monthly-invoices": ScheduleSpec(task="invoices.monthly", cron="0 4 1 * *"),
    "weekly-digest": ScheduleSpec(task="newsletter.digest", cron="0 8 * * 1"),
    "prune-sessions": ScheduleSpec(task="sessions.prune", every=60, expires=300),
}


def shop_settings(**overrides: Any) -> Settings:
    """Settings of the shop."""
    tasks = {
        "reports.*": {"queue": "reports"},
        "warehouse.*": {"queue": "external_api"},
        "invoices.*": {"queue": "email"},
        "carts.*": {"queue": "maintenance"},
        "sessions.*": {"queue": "maintenance"},
        "newsletter.*": {"queue": "email"},
    }
    fields: dict[str, Any] = {
        "queue_preset": "priority", "index_completed": True, "schedules": SCHEDULES, "tasks": tasks,
        "job_table": "shop-jobs", "fleet_table": "shop-fleet", "queue_prefix": "shop-", "region": "eu-central-1",
        "dashboard_arguments": ("order_id",), "dashboard_results": True,
    }  # fmt: skip
    return Settings(**{**fields, **overrides})


@contextmanager
def shop(clock: Clock = system_clock, *, filled: bool = True, days: int = 9, **overrides: Any) -> Iterator[Services]:
    """Make the shop in memory and give what a dashboard stands on."""
    settings = shop_settings(**overrides)
    with mock.patch.dict(os.environ, FAKE), in_model(settings) as dynamodb:
        sqs = client(settings, "sqs")
        urls = {name: _queue(sqs, settings.physical_name(name)) for name in settings.queue_names}
        dead = {name: _queue(sqs, settings.physical_name(name) + DEAD_LETTER_SUFFIX) for name in settings.queue_names}
        if filled:
            Shop(settings, dynamodb, clock()).fill(days)
            for queue, count in (("reports", 14), ("email", 6), ("high_priority", 2)):
                for _ in range(count):
                    sqs.send_message(QueueUrl=urls[queue], MessageBody="{}")
            sqs.send_message(QueueUrl=dead["external_api"], MessageBody="{}")
        yield Services(
            settings=settings,
            dynamodb=Metered(dynamodb, capacity=True),
            sqs=Metered(sqs, capacity=False),
            send=lambda job, delay: None,
            clock=clock,
            shared=Shared(clock),
        )


def _queue(sqs: Any, name: str) -> str:
    return str(sqs.create_queue(QueueName=name)["QueueUrl"])


def main() -> None:
    """Serve the shop on loopback until Ctrl-C."""
    import uvicorn

    from jobclaim.dashboard import Person, Role, create_app

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one.")
    parser.add_argument("--empty", action="store_true", help="No job, no worker.")
    asked = parser.parse_args()
    started = system_clock()
    with (
        socket.create_server(("127.0.0.1", asked.port)) as listening,
        shop(lambda: started, filled=not asked.empty, days=30) as services,
    ):
        app = create_app(services=services, access=lambda scope: Person("ada@shop.example", Role.OPERATOR))
        print(f"The shop is at http://127.0.0.1:{listening.getsockname()[1]}/", flush=True)  # noqa: T201 - told on purpose
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


if __name__ == "__main__":
    main()
