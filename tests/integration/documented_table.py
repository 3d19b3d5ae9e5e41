"""Every command that README, docs, hooks and helps show: what it needs, and the shape of what it gives.

A line that is new in the docs needs a row here; ``test_documented_commands.py`` names it. Keys are the lines as they
are typed, without comments.
"""

from __future__ import annotations

from signal import SIGTERM
from typing import Any

from jobclaim.settings import DEAD_LETTER_SUFFIX
from tests.integration.documented_shapes import (
    FINDING,
    JOB,
    JOB_TABLE,
    Scenario,
    Shape,
    both,
    items,
    one,
    rows,
    says,
    silent,
    values,
    writes,
)
from tests.integration.documented_world import Run, World
from tests.support.waiting import wait_until

AN_ID = "5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11"
A_FINGERPRINT = "5f1c8f3e2a57"
A_MESSAGE = "7d5e2a10-93c4-4c58-b5ad-1f0e6c2b9a44"
UUID = r"[0-9a-f-]{36}"
READY = r"ready\."


# --- what must be there before
def worker(world: World) -> dict[str, str]:
    """Have the README's worker."""
    assert world.worker.running
    return {}


def waiting(world: World) -> dict[str, str]:
    """Have a job that waits, for lines that name one."""
    job_id = world.waiting().job_id
    return {"ID": job_id, AN_ID: job_id}


def overdue(world: World) -> None:
    """Have a job that waits for longer than its message can be on its way."""
    world.waiting(minutes=1)


def waiting_document(world: World) -> None:
    """Have a job that waits in the queue of documents."""
    world.waiting(queue="documents")


def failed(world: World) -> dict[str, str]:
    """Have a failed job and the fingerprint of its failure."""
    job = world.failed()
    assert job.failure
    return {"ID": job.job_id, AN_ID: job.job_id, "F": job.failure.fingerprint, A_FINGERPRINT: job.failure.fingerprint}


def all_paused(world: World) -> None:
    """Have a queue, a task and a schedule paused."""
    from jobclaim.fleet.pauses import Subject, pause
    from jobclaim.jobs.storage.pauses import PauseKind

    for kind, name in (("queue", "email"), ("task", "billing.charge"), ("schedule", "nightly")):
        pause(world.repo, Subject(PauseKind(kind), name), by="ann", reason="migration")


def unpaused(world: World, _: Run) -> None:
    """Leave nothing paused."""
    from jobclaim.fleet.pauses import PauseRecords, Subject, unpause
    from jobclaim.jobs.storage.pauses import PauseKind

    for held in PauseRecords.of(world.repo).read().active(world.repo.clock()):
        unpause(world.repo, Subject(PauseKind(held.kind), held.name), by="bob")


def paused(**values: Any) -> Shape:
    """Demand a pause's record, and end the pause."""
    return both(one("by", "since", **values), unpaused)


def ran(world: World) -> None:
    """Have runs of the task that the lines name, in the statistics."""
    world.failed("shop.charge")
    world.repo.flush()


def failed_bill(world: World) -> None:
    """Have a failed job of billing."""
    world.failed("billing.charge")


def charged(world: World) -> dict[str, str]:
    """Have a bill under the documented key, and one under its arguments."""
    for key in (["--args", "[42]", "--key", "invoice-42"], ["--kwargs", '{"invoice": 42}']):
        done = world.run("jobclaim", "submit", "billing.charge", *key)
        assert done.returncode == 0, done.stderr
    return {}


def decided(world: World) -> None:
    """Have something in the trail of decisions."""
    job = world.failed()
    assert world.run("jobclaim", "dead", "abandon", job.job_id).returncode == 0


def unread(world: World) -> dict[str, str]:
    """Have a message in a dead-letter queue, and its id."""
    from jobclaim.infra.clients import sqs_client

    sqs = sqs_client(world.settings)
    url = sqs.get_queue_url(QueueName=world.settings.physical_name("reports") + DEAD_LETTER_SUFFIX)["QueueUrl"]
    return {A_MESSAGE: sqs.send_message(QueueUrl=url, MessageBody="rubbish")["MessageId"]}


def no_queue(world: World) -> None:
    """Have one queue less than the settings want."""
    from jobclaim.infra import resolve_queue_urls
    from jobclaim.infra.clients import sqs_client

    sqs = sqs_client(world.settings)
    sqs.delete_queue(QueueUrl=resolve_queue_urls(world.settings, sqs)["email"])


def rendered(world: World) -> None:
    """Have the template that the settings give."""
    assert world.run("jobclaim", "template").returncode == 0


def unrendered(world: World) -> None:
    """Have no template."""
    (world.folder / "template.yaml").unlink(missing_ok=True)


def known_schedules(world: World) -> None:
    """Have a baseline of the schedules' faults."""
    line = ("schedule", "validate", "--static", ".", "--baseline", ".jobclaim-schedules.json", "--write-baseline")
    assert world.run("jobclaim", *line).returncode == 0


def mail_runs(world: World) -> None:
    """Have a worker of this machine that is called mail."""
    world.mail(runs=True)


def no_mail(world: World) -> None:
    """Have none of that name."""
    world.mail(runs=False)


def mail_by_id(world: World) -> dict[str, str]:
    """Have a new one, and its id in the fleet."""
    world.mail(runs=False)
    pid = world.mail(runs=True).pid
    named = wait_until(lambda: [name for name in world.fleet() if f":{pid}:" in name], 30, "it is in the fleet")
    return {"W": named[0], "web-1:4711:ab12cd34": named[0]}


def reports_worker(world: World) -> None:
    """Have a worker in the fleet that listens on reports and runs a job."""
    from jobclaim.fleet.workers import FleetRecords, WorkerRecord

    job = world.waiting()
    world.repo.claim_job(job.job_id, worker_id="host:1:reports")
    record = WorkerRecord(
        worker_id="host:1:reports", seen_at=world.repo.clock(), queues=("reports",), jobs=(job.job_id,)
    )
    FleetRecords.of(world.repo).beat(record)


def folders(world: World) -> None:
    """Have the folders into which a line writes."""
    for name in ("docs", "../.zfunc", "../.config/fish/completions"):
        (world.folder / name).mkdir(parents=True, exist_ok=True)


def free_port(world: World) -> dict[str, str]:
    """Take a port that is free here for the documented one."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return {"9000": port}


def hashed(world: World) -> dict[str, str]:
    """Have the hash of a password for the places where the documentation leaves it out."""
    made = world.run("jobclaim", "dashboard", "hash-password", answer="correct horse battery staple\n").stdout.strip()
    return {"scrypt$32768$8$3$...": made, "scrypt$...": made}


def few_jobs(_: World) -> dict[str, str]:
    """Measure with a few jobs only."""
    return {"--jobs 1000": "--jobs 20", "bench --yes": "bench --jobs 10 --yes"}


def few_seeds(_: World) -> dict[str, str]:
    """Simulate with a few seeds only."""
    return {"--seeds 100000": "--seeds 20"}


def here(world: World) -> dict[str, str]:
    """Take the embedded AWS for the documented one."""
    return {"http://127.0.0.1:5000": str(world.settings.endpoint_url)}


LOOKS_AT_QUEUES = rows("queue", "visible", "in_flight", "waiting", "running", "sla_burn")
MEASURED = one("jobs_per_second", "requests", "write_units_per_job", "dollars_per_million", jobs=10, deleted=10)
TASK_FIELDS = ("task", "runs", "failure_rate", "p50_ms", "p95_ms", "wait_p95_ms", "unusual")
STEP_FIELDS = ("at", "runs", "failure_rate", "p95_ms", "healed", "failed_again")
WORKER_FIELDS = ("worker_id", "state", "queues", "jobs", "concurrency", "version")
VERIFIED = "tests/integration/test_verify.py"
GROUP = ("fingerprint", "count", "kind", "exception", "sample")
ACT = ("verb", "dry_run", "matched", "done", "unsent", "limited", "refused")
PASS = ("examined", "orphaned", "redispatched")
TICK = ("at", "name", "task")
UP = rows("resource", "kind", "action", "detail")
FOUND = rows(*FINDING)
FINDING_TABLE = r"^ *check +where +what +fix"
COMPLETED = one(*JOB, status="COMPLETED")
CHECKED = ("level", "check", "subject", "problem", "fix")

SCENARIOS: dict[str, Scenario] = {
    # --- start
    "jobclaim up": Scenario(UP, columns=("resource", "kind", "action", "detail")),
    "jobclaim up -o jsonl | grep -v unchanged": Scenario(UP, no_queue),
    "JOBCLAIM_ENDPOINT_URL=http://127.0.0.1:5000 jobclaim up": Scenario(UP, here),
    "celery -A jobclaim worker": Scenario(says(READY), until=READY, by=SIGTERM),
    "celery -A jobclaim worker -Q default -c 4": Scenario(says(READY), until=READY, by=SIGTERM),
    "celery -A jobclaim worker -Q recovery -c 1 -B": Scenario(says(READY), until=READY, by=SIGTERM),
    "celery -A jobclaim jobs": Scenario(says("Submit, list, show, retry, cancel and recover jobs"), exit=2),
    "jobclaim dev -q documents -q default": Scenario(says("export JOBCLAIM_ENDPOINT_URL="), until=r"worker@\S+ ready"),
    # --- jobs
    "jobclaim submit documents.process --args '[\"tasks.py\"]' --wait": Scenario(COMPLETED, worker),
    "jobclaim submit shop.tasks.invoice --args '[42]' --wait": Scenario(COMPLETED, worker),
    "jobclaim submit shop.tasks.invoice --args '[42]' --in 10m": Scenario(one(*JOB, status="PENDING")),
    "jobclaim submit billing.charge --args '[42]' --key invoice-42 --ttl 4h": Scenario(
        one(*JOB, task="billing.charge")
    ),
    "jobclaim submit billing.charge --args '[42]' --tag customer:42 --tag import": Scenario(
        one(*JOB, task="billing.charge", tags=["customer:42", "import"])
    ),
    "jobclaim list": Scenario(rows(*JOB), waiting, columns=JOB_TABLE),
    "jobclaim list --queue reports": Scenario(rows(*JOB), waiting),
    "jobclaim list --status PENDING": Scenario(rows(*JOB), waiting),
    "jobclaim list --status cancelled": Scenario(says("^$|job_id")),
    "jobclaim list --status completed": Scenario(says("^$|job_id")),
    "jobclaim list --status FAILED --limit 200": Scenario(rows(*JOB), failed),
    "jobclaim list -s FAILED --task 'billing.*' --kind TRANSIENT --since 2h": Scenario(rows(*JOB), failed_bill),
    "jobclaim list -s PENDING -q documents -o json | jq '.items[].job_id'": Scenario(
        values(f'"{UUID}"'), waiting_document
    ),
    "jobclaim list -s FAILED --error 'connection reset' --since yesterday": Scenario(says("^$|job_id")),
    "jobclaim list --tag customer:42 --argument '\"invoice\": 7'": Scenario(says("^$|job_id")),
    "jobclaim list -s FAILED --id 'nightly@*'": Scenario(says("^$|job_id")),
    "jobclaim list -s FAILED --worker w-1 --key 'invoice-*'": Scenario(says("^$|job_id")),
    "jobclaim list -s failed -0 | xargs -0 jobclaim retry": Scenario(rows(*JOB), failed),
    "jobclaim list --status FAILED -o ids | xargs jobclaim retry": Scenario(rows(*JOB), failed),
    "jobclaim list --watch 5s": Scenario(says('"job_id"'), waiting, until='"job_id"'),
    f"jobclaim show {AN_ID}": Scenario(one(*JOB, status="FAILED"), failed),
    f"jobclaim show {AN_ID} --payload": Scenario(one(*JOB, payload={"args": [1], "kwargs": {}}), waiting),
    f"jobclaim show {AN_ID} --watch": Scenario(says('"job_id"'), waiting, until='"job_id"'),
    f"jobclaim show {AN_ID} -o json | jq .failure": Scenario(
        one("kind", "exception", "message", "fingerprint"), failed
    ),
    "jobclaim show ID": Scenario(one(*JOB, status="FAILED"), failed),
    f"jobclaim retry {AN_ID}": Scenario(rows(*JOB), failed),
    f"jobclaim retry {AN_ID} --clear-steps": Scenario(rows(*JOB), failed),
    f"jobclaim retry {AN_ID} --edit --resolve": Scenario(one(*JOB, status="PENDING"), failed),
    f'jobclaim retry {AN_ID} --payload \'{{"args": [2], "kwargs": {{}}}}\'': Scenario(
        one(*JOB, status="PENDING"), failed
    ),
    "jobclaim retry ID --edit --resolve": Scenario(one(*JOB, status="PENDING"), failed),
    "jobclaim show ID --payload": Scenario(one(*JOB, status="FAILED"), failed),
    "jobclaim retry ID": Scenario(rows(*JOB), failed),
    f"jobclaim resume {AN_ID} approval": Scenario(one(*JOB, status="PENDING"), waiting),
    f'jobclaim resume {AN_ID} approval --payload \'{{"by": "ann"}}\'': Scenario(one(*JOB), waiting),
    f'jobclaim cancel {AN_ID} --reason "sent by mistake"': Scenario(rows(*JOB), waiting),
    "jobclaim cancel --task 'report.*' --queue reports --reason \"sent twice\"": Scenario(
        says("0 jobs to cancel"), waiting
    ),
    "jobclaim cancel --queue reports --state processing --state pending --since 2h --yes": Scenario(
        one("verb", "matched", "done", "requested", "refused", "submitted_before"), waiting
    ),
    "jobclaim cancel --task 'report.*' --dry-run -o ids": Scenario(says("0 jobs to cancel"), waiting),
    "jobclaim cancel --task 'report.*' --queue reports --dry-run -o ids": Scenario(says("0 jobs to cancel"), waiting),
    "jobclaim cancel --queue reports --yes": Scenario(one("verb", "matched", "done", "refused"), waiting),
    "jobclaim cancel ID": Scenario(rows(*JOB), waiting),
    'jobclaim resume ID approval --payload \'{"by": "ann"}\'': Scenario(one(*JOB, status="PENDING"), waiting),
    "jobclaim retry ID --clear-steps": Scenario(rows(*JOB), failed),
    "jobclaim key show billing.charge invoice-42": Scenario(one(*JOB, "answers_duplicates"), charged),
    "jobclaim key show billing.charge --values '{\"invoice\": 42}'": Scenario(one(*JOB, "answers_duplicates"), charged),
    "jobclaim key show billing.charge --values '{\"invoice\": 42}' -o json | jq .result": Scenario(
        says(r'^null$|"billed": 42'), charged
    ),
    "jobclaim key clear billing.charge invoice-42": Scenario(one("job_id", "cleared"), charged),
    # --- dead letters
    "jobclaim dead list": Scenario(rows(*JOB), failed, columns=("job", "task", "state", "fingerprint")),
    "jobclaim dead list --task NAME --groups": Scenario(says("^$|fingerprint")),
    "jobclaim dead list --groups": Scenario(rows(*GROUP), failed, columns=("jobs", "fingerprint", "kind", "where")),
    "jobclaim dead stats": Scenario(rows("by", "value", "count"), failed, columns=("by", "value", "jobs")),
    "jobclaim dead audit": Scenario(rows("at", "verb", "by", "what", "done"), decided, columns=("when", "by", "verb")),
    "jobclaim trail": Scenario(rows("at", "verb", "by", "arn", "done"), decided, columns=("when", "by", "aws", "verb")),
    "jobclaim trail --what 5f1c8f3e-2a57-4a0c-9a52-0a1d0f0d7c11": Scenario(says("^$|abandon"), decided),
    "jobclaim trail --what ID": Scenario(says("^$|verb")),
    "jobclaim trail --who ada --verb retry --since 1d": Scenario(says("^$|retry"), decided),
    "jobclaim trail --since 7d -o jsonl | jq -r .arn": Scenario(says("arn:aws|null"), decided),
    "jobclaim dead queue inspect reports": Scenario(
        rows("message_id", "sent_at", "received", "task"), unread, columns=("message", "sent", "received", "task")
    ),
    'jobclaim dead queue redrive reports --reason "the release is rolled back"': Scenario(
        one("done", verb="redrive", queue="reports", missing=0), unread, answer="y\n"
    ),
    f'jobclaim dead queue discard reports {A_MESSAGE} --reason "sent by a test"': Scenario(
        one(verb="discard", queue="reports", done=1, missing=0), unread, answer="y\n"
    ),
    "jobclaim dead queue list": Scenario(rows("queue", "name", "messages"), columns=("queue", "messages")),
    "jobclaim dead retry --fingerprint F --dry-run": Scenario(says(r"^\d+ dead letters? to retry in 1 groups"), failed),
    f'jobclaim dead retry --fingerprint {A_FINGERPRINT} --rate 100 --reason "the bank is back"': Scenario(
        one(*ACT, verb="retry", refused=[]), failed, answer="y\n"
    ),
    f'jobclaim dead retry --fingerprint {A_FINGERPRINT} --rate 100 --reason "the bank is back"'
    " --failed-before 2030-01-31T08:00:00Z": Scenario(one(*ACT, verb="retry", refused=[]), failed, answer="y\n"),
    "jobclaim dead retry --task shop.charge --delay 2h --yes": Scenario(one(*ACT, verb="retry"), failed),
    "jobclaim dead retry --task shop.charge --state RESOLVED --dry-run": Scenario(
        one(*ACT, verb="retry", dry_run=True), failed
    ),
    f'jobclaim dead resolve {AN_ID} --reason "paid by hand"': Scenario(
        one(*ACT, verb="resolve", done=1, refused=[]), failed
    ),
    f"jobclaim dead show {AN_ID}": Scenario(one(*JOB, status="FAILED"), failed),
    "jobclaim dead abandon --task shop.charge --dry-run": Scenario(says(r"dead letters? to abandon in \d+"), failed),
    "jobclaim dead abandon --task shop.charge --failed-before 2030-01-31T08:00:00Z --dry-run": Scenario(
        says(r"dead letters? to abandon in \d+ groups"), failed
    ),
    # --- operate
    "jobclaim queues": Scenario(LOOKS_AT_QUEUES, columns=("queue", "messages in SQS", "jobs", "of SLA")),
    "jobclaim queues --capacity": Scenario(rows("queue", "sla_burn", "capacity"), columns=("recommended", "why")),
    "jobclaim queues --watch 5s": Scenario(says('"sla_burn"'), until='"queue":"recovery"'),
    "jobclaim queues -o jsonl | jq 'select(.sla_burn > 1)'": Scenario(lambda world, run: None),
    'jobclaim pause queue email --reason "the provider is down" --for 2h': Scenario(
        paused(kind="queue", name="email", reason="the provider is down")
    ),
    'jobclaim pause task billing.charge --reason "wrong prices since the deploy"': Scenario(
        paused(kind="task", name="billing.charge", until=None), worker
    ),
    'jobclaim pause schedule nightly --reason "migration" --until 2030-01-31T08:00:00Z': Scenario(
        paused(kind="schedule", name="nightly", until="2030-01-31T08:00:00.000Z")
    ),
    "jobclaim pause list": Scenario(both(rows("kind", "name", "by", "reason", least=3), unpaused), all_paused),
    "jobclaim pause list --ended -o json": Scenario(both(items("kind", "ended_by"), unpaused), all_paused),
    "jobclaim unpause queue email": Scenario(both(one(name="email", active=False), unpaused), all_paused),
    'jobclaim unpause task billing.charge --reason "prices are right again"': Scenario(
        both(one(name="billing.charge", active=False), unpaused), all_paused
    ),
    "jobclaim unpause schedule nightly -o json": Scenario(
        both(one(name="nightly", active=False), unpaused), all_paused
    ),
    "jobclaim tasks": Scenario(rows(*TASK_FIELDS), ran, columns=("task", "runs", "failed", "p50", "p95", "wait p95")),
    "jobclaim tasks shop.charge": Scenario(rows(*STEP_FIELDS, least=24), ran, columns=("hour", "runs", "failed")),
    "jobclaim tasks shop.charge --by day -o json": Scenario(items(*STEP_FIELDS), ran),
    "jobclaim tasks --by day": Scenario(rows(*STEP_FIELDS, least=30), ran, columns=("day", "runs", "failed again")),
    "jobclaim tasks -o jsonl | jq -r 'select(.unusual != []) | .task'": Scenario(lambda world, run: None, ran),
    "jobclaim purge reports --dry-run": Scenario(one(verb="purge", dry_run=True)),
    'jobclaim purge reports --reason "sent twice" --yes': Scenario(one(verb="purge", dry_run=False)),
    "jobclaim purge reports --rate 50 -o json --yes": Scenario(one(verb="purge", refused=[])),
    "jobclaim workers": Scenario(rows(*WORKER_FIELDS), worker, columns=("worker", "state", "seen", "queues", "jobs")),
    "jobclaim workers -o ids": Scenario(values(r"\S+:\S+"), worker),
    "jobclaim workers --jobs --watch": Scenario(says('"worker_id"'), worker, until='"worker_id"'),
    "jobclaim workers -q reports -o jsonl | jq -r '.jobs[].job_id'": Scenario(values(UUID), reports_worker),
    "jobclaim worker run -q emails -q default -c 8": Scenario(says(READY), until=READY, by=SIGTERM),
    "jobclaim worker start mail -q emails": Scenario(one("pid", "log", worker="mail"), no_mail),
    "jobclaim worker restart mail": Scenario(one("pid", "log", worker="mail"), mail_runs),
    "jobclaim worker stop mail": Scenario(one(worker="mail", state="stopped"), mail_runs),
    "jobclaim worker stop mail --within 30m": Scenario(one(worker="mail", state="stopped"), mail_runs),
    "jobclaim worker stop --id W": Scenario(one("worker", state="stopping"), mail_by_id),
    "jobclaim worker stop --id web-1:4711:ab12cd34": Scenario(one("worker", state="stopping"), mail_by_id),
    "jobclaim worker health": Scenario(one("why", worker="worker", ok=True), worker),
    "jobclaim worker health beat": Scenario(one("why", worker="beat", ok=False), exit=4),  # no beat runs here
    "jobclaim worker monitor": Scenario(rows(*WORKER_FIELDS), worker, columns=("worker", "state", "seen", "queues")),
    "jobclaim worker monitor --watch 5s": Scenario(says('"worker_id"'), worker, until='"worker_id"'),
    "jobclaim recover": Scenario(one(*PASS)),
    "jobclaim recover --every 10": Scenario(says('"examined"'), until='"examined"'),
    "jobclaim recover --every 30": Scenario(says('"examined"'), until='"examined"'),
    "jobclaim recover -o json | jq .orphaned": Scenario(values(r"\d+")),
    "jobclaim doctor": Scenario(rows(*CHECKED), columns=("check", "where", "what", "fix")),
    "jobclaim doctor --problems -o json": Scenario(items(*CHECKED)),
    "jobclaim doctor --actor worker -q default": Scenario(rows(*CHECKED)),
    "jobclaim doctor --actor worker -q email": Scenario(rows(*CHECKED)),
    "jobclaim template": Scenario(
        both(says("template.yaml: written"), writes("template.yaml", "^Resources:")), unrendered
    ),
    "jobclaim template --check": Scenario(says("template.yaml matches the settings"), rendered),
    "jobclaim template --file - | less": Scenario(says("^Resources:")),
    "jobclaim prune": Scenario(one("seen", "deleted", "complete", dry_run=False)),
    "jobclaim prune --dry-run": Scenario(one("seen", "deleted", "complete", dry_run=True)),
    "jobclaim prune --limit 10000 --rate 50": Scenario(one("seen", "deleted", "complete", dry_run=False)),
    # --- measurements
    "jobclaim bench": Scenario(MEASURED, lambda _: {"bench": "bench --jobs 10"}, answer="y\n"),
    "jobclaim bench --yes": Scenario(MEASURED, few_jobs),
    "jobclaim bench --jobs 1000 --threads 16 --yes -o table": Scenario(says(r"a million jobs +\$\d"), few_jobs),
    "jobclaim bench --yes -o json | jq .dollars_per_million": Scenario(values(r"[\d.]+"), few_jobs),
    # --- the dashboard
    "jobclaim dashboard --operator --port 9000": Scenario(
        says("The dashboard is at http"), free_port, until="The dashboard is at http"
    ),
    "jobclaim dashboard --host 0.0.0.0": Scenario(says("JOBCLAIM_DASHBOARD_USERS"), exit=1),  # nobody signs in here
    "jobclaim dashboard hash-password": Scenario(values(r"\S{40,}"), answer="correct horse battery staple\n"),
    # --- schedules
    "jobclaim schedule validate": Scenario(both(silent, says("0 findings in|^$"))),
    "jobclaim schedule validate --live": Scenario(FOUND, worker, exit=4),  # nobody does recovery here
    "jobclaim schedule validate --app shop.celery:app": Scenario(
        FOUND, exit=4, columns=("check", "where", "what", "fix")
    ),
    "jobclaim schedule validate --app shop.celery:app --check-duplicates --check-hotspots": Scenario(FOUND, exit=4),
    "jobclaim schedule validate --check-idempotency --check-orphaned-tasks": Scenario(silent),
    "jobclaim schedule validate --static . -o table": Scenario(says(FINDING_TABLE), exit=4),
    "jobclaim schedule validate --static src/": Scenario(FOUND, exit=4),
    "jobclaim schedule validate --static . --check-orphaned-tasks -v": Scenario(silent),
    "jobclaim validate-schedules": Scenario(both(silent, says("0 findings in|^$"))),
    "jobclaim schedule validate --static . --baseline .jobclaim-schedules.json": Scenario(silent, known_schedules),
    "jobclaim schedule list": Scenario(
        rows("name", "task", "when", "queue", "expires_seconds", "next"), columns=("name", "task", "when", "next")
    ),
    "jobclaim schedule next": Scenario(rows(*TICK), columns=TICK),
    'jobclaim schedule run nightly --reason "the file came late"': Scenario(one("job_id", schedule="nightly")),
    "jobclaim schedule run nightly -o json": Scenario(one("job_id", schedule="nightly")),
    "jobclaim schedule next -n 5": Scenario(rows(*TICK, least=5)),
    # --- tasks
    "jobclaim audit": Scenario(FOUND, exit=4, columns=("check", "where", "what", "fix")),
    "jobclaim audit src/": Scenario(FOUND, exit=4),
    "jobclaim audit --static -o table": Scenario(says(FINDING_TABLE), exit=4),
    "jobclaim audit --static src/": Scenario(FOUND, exit=4),
    "jobclaim audit --duplicates-only src/": Scenario(silent),
    "jobclaim audit --generate-report tasks.md src/": Scenario(both(FOUND, writes("tasks.md", "`old.weekly`")), exit=4),
    "jobclaim audit --app shop.celery:app --generate-report tasks.md src/": Scenario(
        both(FOUND, writes("tasks.md", "`old.weekly`")), exit=4
    ),
    "jobclaim audit --baseline .jobclaim-audit.json --write-baseline src/": Scenario(
        both(silent, writes(".jobclaim-audit.json", "fingerprint"))
    ),
    "jobclaim audit --static --baseline .jobclaim-audit.json --write-baseline src/": Scenario(
        both(silent, writes(".jobclaim-audit.json", "fingerprint"))
    ),
    "jobclaim audit --reconcile": Scenario(FOUND, overdue, exit=4),
    # --- the shell
    'eval "$(jobclaim completion bash)"': Scenario(silent),
    "jobclaim completion bash": Scenario(says("_JOBCLAIM_COMPLETE")),
    "jobclaim completion zsh > ~/.zfunc/_jobclaim": Scenario(
        writes("../.zfunc/_jobclaim", "_JOBCLAIM_COMPLETE"), folders
    ),
    "jobclaim completion fish > ~/.config/fish/completions/jobclaim.fish": Scenario(
        writes("../.config/fish/completions/jobclaim.fish", "_JOBCLAIM_COMPLETE"), folders
    ),
    # --- modules
    "python -m jobclaim.infra.cost": Scenario(says(r"\| DynamoDB \|")),
    "python -m tests.simulation --seeds 100000 --processes 2": Scenario(
        says("^20 seeds, .* 0 seeds failed"), few_seeds
    ),
    "python -m jobclaim.jobs.events > docs/events.md": Scenario(writes("docs/events.md", "^# Events"), folders),
    # --- settings, each followed by a command that reads them
    "export JOBCLAIM_TASK_MODULES='[\"tasks\"]'": Scenario(UP),
    'export JOBCLAIM_LOG_ARGUMENTS=\'["invoice_id", "kind"]\'': Scenario(UP),
    "export JOBCLAIM_TELEMETRY=otlp": Scenario(UP),
    "export JOBCLAIM_ADOPT_PLAIN_MESSAGES=false": Scenario(UP),
    "export JOBCLAIM_DASHBOARD_HOSTS=jobs.example.com": Scenario(UP),
    'export JOBCLAIM_DASHBOARD_USERS=\'{"ann": {"password": "scrypt$32768$8$3$...", "operator": true},'
    ' "bob": {"password": "scrypt$..."}}\'': Scenario(UP, hashed),
    "export JOBCLAIM_TELEMETRY_ENDPOINT=http://localhost:4318": Scenario(UP),
}

CURVES = ("scaling", "sweep", "memory")
ELSEWHERE: dict[str, str] = {
    "JOBCLAIM_TASK_MODULES='[\"tasks\"]' jobclaim dev": "tests/integration/test_dev.py",
    "jobclaim --app proj dev": "tests/unit/test_cli_development.py",
    "jobclaim dev --concurrency 4 --port 5000": "tests/integration/test_dev.py",
    "jobclaim dev": "tests/integration/test_dev.py",
    "jobclaim dashboard": "tests/integration/test_dashboard_process.py",
    "jobclaim dashboard --operator": "tests/integration/test_dashboard_process.py",
    "python -m tests.support.dashboard_data --port 8484": "tests/browser/test_live_refresh.py",
    "jobclaim demo": "tests/integration/test_demo.py",
    "jobclaim demo --keep ./demo": "tests/integration/test_demo.py",
    "jobclaim demo -o json | jq .figures": "tests/integration/test_demo.py",
    "make demo": "tests/integration/test_demo.py",
    "jobclaim verify": VERIFIED,
    "jobclaim verify --minutes 20 --jobs 20000 --seed 7": VERIFIED,
    "jobclaim verify --dynamodb-url http://127.0.0.1:8000 --sqs-url http://127.0.0.1:9324": VERIFIED,
    "jobclaim verify -o json | jq '.promises[] | select(.state != \"held\")'": VERIFIED,
    "python -m tests.mutation": "tests/mutation/test_mutation.py",
    "python -m tests.simulation --exhaustive --faults 1 --copies 2": "tests/simulation/test_exhaustive.py",
    "python -m tests.simulation.flows 5000": "tests/simulation/test_flows.py",
    "python -m tests.simulation.lasting 20000": "tests/simulation/test_lasting.py",
    "celery -A proj worker -P threads -c 100 -Q websites": "tests/integration/test_thread_workers.py",
    "jobclaim worker all start": "tests/integration/test_all_groups.py",
    "jobclaim worker all status": "tests/integration/test_all_groups.py",
    "jobclaim worker all stop": "tests/integration/test_all_groups.py",
    "jobclaim worker all stop --within 5m": "tests/integration/test_all_groups.py",
    "jobclaim worker all restart": "tests/integration/test_all_groups.py",
    "jobclaim worker watch-interruption": "tests/unit/test_interruption.py",
    "jobclaim worker watch-interruption mail": "tests/unit/test_interruption.py",
    "jobclaim worker watch-interruption mail --within 30m -- systemctl stop jobclaim-worker@mail.service": (
        "tests/unit/test_interruption.py"
    ),
    "jobclaim worker run -q websites -c 100 -- -P threads": "tests/integration/test_thread_workers.py",
    "python -m bench.scale --write": "tests/unit/test_scale.py",
    **{f"python -m bench.curves {name} --write": "tests/unit/test_bench_curves.py" for name in CURVES},
    "python -m tests.fuzz --minutes 60": "tests/unit/test_fuzz.py",
    "python -m bench.verified": "tests/unit/test_guarantees.py",
    "python -m bench.readme": "tests/unit/test_bench_peers.py",
    "celery -A proj beat": "tests/adoption/test_existing_celery.py",
    "celery -A proj jobs list": "tests/adoption/test_existing_celery.py",
    "celery -A proj jobs up": "tests/adoption/test_existing_celery.py",
    "celery -A proj worker": "tests/adoption/test_existing_celery.py",
    "celery -A proj worker -Q recovery -c 1": "tests/adoption/test_existing_celery.py",
    "celery -A proj worker -Q default,math -c 4": "tests/adoption/test_existing_celery.py",
    "celery -A shop beat": "tests/adoption/test_django.py",
    "celery -A shop jobs list": "tests/adoption/test_django.py",
    "celery -A shop jobs recover --every 60": "tests/adoption/test_django.py",
    "celery -A shop jobs up": "tests/adoption/test_django.py",
    "celery -A shop worker -Q recovery -c 1": "tests/adoption/test_django.py",
    "celery -A shop worker -Q default,mail -c 4": "tests/adoption/test_django.py",
    "celery -A workers.celery_app beat": "tests/adoption/test_fastapi.py",
    "celery -A workers.celery_app jobs list": "tests/adoption/test_fastapi.py",
    "celery -A workers.celery_app jobs up": "tests/adoption/test_fastapi.py",
    "celery -A workers.celery_app worker -Q recovery -c 1": "tests/adoption/test_fastapi.py",
    "celery -A workers.celery_app worker -Q default,images -c 4": "tests/adoption/test_fastapi.py",
}
"""Lines that another test runs, because they take long; the file must name the command."""

NOT_HERE: dict[str, str] = {
    "make test": "runs this",
    "make pin": "asks a registry of images",
    "make image": "needs Docker",
    "make release": "needs the network",
    "docker build ": "needs Docker",
    "docker push ": "needs Docker",
    "aws ": "needs an account",
    "IMAGE=": "needs an account",
    "sam ": "needs an account or the network; tests/infra validates and builds the template where SAM is installed",
    "pip install ": "needs the network",
}
"""Beginnings of lines that no test can run, and why; never a command of ours."""
