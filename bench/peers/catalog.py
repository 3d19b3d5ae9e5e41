"""The compared peers: how each is started, what it needs, and when its work has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
APPS: Final = HERE / "apps"
OURS: Final = "jobclaim"
LISTED: Final = "jobclaim-listed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A compared task queue.

    Attributes
    ----------
    key, title : str
    module : str
        In `APPS`: its tasks, ``fill`` and ``call``.
    venv : str
        Requirement file under ``requirements/``.
    worker : tuple of str
        Arguments of its worker after the Python interpreter, with ``{queue}``, ``{processes}`` and, where a process
        works on several jobs at once, ``{pool}`` and ``{each}``.
    ready : str
        Regular expression of the line that its worker logs when it listens.
    table : str, optional
        Its DynamoDB table, and the attribute that is its key.
    ends : mapping
        Number of requests by which an ended job is recognized, besides the deletion of its message.
    broker : str
        ``sqs``, ``redis`` or ``postgresql``.
    left : str
        SQL that counts its jobs that have not ended, in PostgreSQL.
    setup : tuple of str
        Arguments that create its tables there, with ``{url}``.
    tls : bool
        Whether SQS and DynamoDB speak TLS, with a local certificate.
    beside : str
        A server that it needs besides SQS and DynamoDB, which is billed by the hour.
    settings : mapping
        Additional environment variables.
    behaves_as : str, optional
        Key of the peer that has the same faults; those are not run twice.
    slow_jobs : int
        How many jobs it works on over a slow line, as many as it does in about six seconds; 0 where the figure would be
        that of another row.
    note : str
        Remarks on its setup.
    """

    key: str
    title: str
    module: str
    venv: str
    worker: tuple[str, ...]
    ready: str
    table: tuple[str, str] | None = None
    ends: Mapping[str, int] = field(default_factory=dict)
    broker: str = "sqs"
    left: str = ""
    setup: tuple[str, ...] = ()
    tls: bool = False
    beside: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    behaves_as: str | None = None
    slow_jobs: int = 0
    note: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is jobclaim: its code comes from this repository, its dependencies from the requirement file."""
        return self.module == "jobclaim_app"


def _celery(key: str, title: str, **more: object) -> Peer:
    return Peer(
        key=key,
        title=title,
        module="celery_app",
        venv="celery",
        worker=("-m", "celery", "-A", "celery_app", "worker", "-Q", "{queue}", "-c", "{processes}", "-l", "INFO"),
        ready=r"celery@\S+ ready",
        **more,  # type: ignore[arg-type]
    )


def _ours(key: str, title: str, **more: object) -> Peer:
    return Peer(
        key=key,
        title=title,
        module="jobclaim_app",
        venv="jobclaim",
        worker=("-m", "jobclaim", "worker", "run", "-q", "{queue}", "-c", "{processes}"),
        ready=r"\S+@\S+ ready",
        ends={"UpdateItem jobclaim-jobs": 2},
        **more,  # type: ignore[arg-type]
    )


UNLISTED: Final = {"JOBCLAIM_INDEX_COMPLETED": "false"}
PEERS: Final = (
    _ours(
        OURS,
        "**jobclaim**",
        settings=UNLISTED,
        slow_jobs=200,
        note="Started by `jobclaim worker run`, with its extra `fast` and `JOBCLAIM_INDEX_COMPLETED=false`: completed "
        'jobs are not listed. Its tasks are `IdempotentTask` with `on_orphan="retry"`: without the first, equal '
        "submissions both run; without the second, a killed worker's job fails; by default after a minute.",
    ),
    _ours(
        "jobclaim-bulk",
        "**jobclaim**, `submit_many`",
        settings=UNLISTED,
        behaves_as=OURS,
        note="One call submits all jobs; the worker is the same, completed jobs are not listed.",
    ),
    _ours(
        "jobclaim-claims",
        "**jobclaim**, `claim_job()`",
        settings=UNLISTED,
        behaves_as=OURS,
        note="An ordinary task claims and completes its job itself and ignores its own result; completed jobs are not "
        "listed.",
    ),
    _ours(
        LISTED,
        "**jobclaim**, completed jobs listed",
        settings={"JOBCLAIM_INDEX_COMPLETED": "true"},
        behaves_as=OURS,
        note="The default: `index_completed` keeps completed jobs in the index, for one write unit more.",
    ),
    _celery(
        "celery",
        "Celery",
        slow_jobs=40,
        note="5.7, its defaults: `task_acks_late=False`, prefetch multiplier 4, polling interval 1 s, results ignored; "
        "started with `-l INFO`, as in its documentation. A worker whose prefetch is full asks again after a second; "
        "without latency it mostly waits for that.",
    ),
    _celery(
        "celery-tuned",
        "Celery, tuned",
        settings={"BENCH_POLLING": "0.1", "BENCH_PREFETCH": "10"},
        behaves_as="celery",
        slow_jobs=40,
        note="A polling interval of 0.1 s and a prefetch multiplier of 10, which holds up to 80 messages that no other "
        "worker can start.",
    ),
    _celery(
        "celery-late",
        "Celery, `acks_late=True`",
        note="The message is deleted after the body: a killed worker's job runs again after its visibility timeout, "
        "30 minutes by default; so does one that takes longer, beside itself.",
    ),
    _celery(
        "celery-results",
        "Celery + DynamoDB results",
        table=("celery", "id"),
        ends={"PutItem celery": 1},
        note="Celery's own DynamoDB backend, without keys in its URL: with them all processes share one connection.",
    ),
    _celery(
        "celery-powertools",
        "Celery + Powertools, `acks_late`",
        table=("powertools", "id"),
        ends={"PutItem powertools": 1, "UpdateItem powertools": 1},
        note="`@idempotent_function` of Powertools for AWS around the body, keyed by the arguments, with a context "
        "that says how long a body may take, as its documentation advises. A body that takes longer can run beside "
        "itself; a killed worker's job runs again after its visibility timeout.",
    ),
    _celery("celery-once", "celery-once", beside="Redis", note="Its locks are in Redis."),
    _celery("celery-singleton", "celery-singleton", beside="Redis", note="Its locks are in Redis."),
    _celery(
        "celery-native-delay",
        "celery-sqs-native-delay",
        behaves_as="celery",
        note="Celery with a transport that leaves delays to SQS and EventBridge Scheduler; these jobs have none.",
    ),
    Peer(
        key="dramatiq",
        title="dramatiq-sqs",
        module="dramatiq_app",
        venv="dramatiq",
        worker=("-m", "dramatiq", "dramatiq_app", "-p", "{pool}", "-t", "{each}"),
        ready=r"Worker process is ready",
        slow_jobs=200,
        note="Two processes of four threads. A killed worker's job runs again after its visibility timeout: 12 hours.",
    ),
    Peer(
        key="taskiq",
        title="taskiq-aio-sqs",
        module="taskiq_app",
        venv="taskiq",
        worker=("-m", "taskiq", "worker", "taskiq_app:broker", "-w", "{pool}", "--max-async-tasks", "{each}"),
        ready=r"Listening started",
        slow_jobs=200,
        note="Two processes of four coroutines; ten messages per poll instead of its default of one. A killed worker's "
        "job runs again after the queue's visibility timeout.",
    ),
    Peer(
        key="taskiq-uvloop",
        title="taskiq-aio-sqs, uvloop",
        module="taskiq_app",
        venv="taskiq-uvloop",
        worker=("-m", "taskiq", "worker", "taskiq_app:broker", "-w", "{pool}", "--max-async-tasks", "{each}"),
        ready=r"Listening started",
        behaves_as="taskiq",
        slow_jobs=200,
        note="As above, with uvloop installed.",
    ),
    _ours(
        "jobclaim-tls",
        "**jobclaim**, TLS",
        settings=UNLISTED,
        behaves_as=OURS,
        tls=True,
        note="As the first row, over TLS with a local certificate.",
    ),
    _celery("celery-tls", "Celery, TLS", behaves_as="celery", tls=True, note="Its defaults, over TLS as well."),
    _celery(
        "celery-redis",
        "Celery on Redis",
        broker="redis",
        beside="Redis",
        note="Its defaults, with Redis instead of SQS; a message is removed when its body starts.",
    ),
    Peer(
        key="procrastinate",
        title="procrastinate",
        module="procrastinate_app",
        venv="procrastinate",
        worker=(
            *("several.py", "{pool}", "-m", "procrastinate", "-v", "-a", "procrastinate_app.app", "worker"),
            *("-q", "{queue}", "-c", "{each}"),
        ),
        ready=r"Starting worker",
        broker="postgresql",
        left="SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')",
        setup=("-m", "procrastinate", "-a", "procrastinate_app.app", "schema", "--apply"),
        beside="PostgreSQL",
        note="On PostgreSQL, two processes of four coroutines, started with `-v`, defaults otherwise.",
    ),
    Peer(
        key="awa",
        title="awa",
        module="awa_app",
        venv="awa",
        worker=("several.py", "{pool}", "awa_app.py", "{each}"),
        ready=r"awa is ready",
        broker="postgresql",
        left="SELECT count(*) FROM awa.jobs WHERE state IN ('available', 'running', 'scheduled', 'retryable')",
        setup=("-m", "awa", "--database-url", "{url}", "migrate"),
        beside="PostgreSQL",
        note="awa-pg, in Rust with Python bodies, on PostgreSQL: two processes of four coroutines, defaults otherwise. "
        "Its view of open jobs lacks running ones: a job counts as ended when it is taken.",
    ),
)
"""In the order of the table, ours first."""

BY_KEY: Final = {peer.key: peer for peer in PEERS}


def queue_of(peer: Peer) -> tuple[str, str]:
    """Return the name of a peer's queue for the peer and for SQS."""
    if peer.is_ours:
        return "default", "jobclaim-default"
    return f"bench-{peer.key}", f"bench-{peer.key}"
