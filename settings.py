"""The one source of configuration: a frozen, validated `Settings`, and every number that is derived from it.

Values come from, strongest first: arguments, ``JOBCLAIM_*`` environment variables, a ``.env`` file, the dictionary
``JOBCLAIM`` in a Django project's settings, the project's configuration file, the defaults below. The file is the one
that ``JOBCLAIM_CONFIG`` names, else the table ``[tool.jobclaim]`` in the ``pyproject.toml`` of the working folder or of
the nearest folder above it that has one, up to the root of the repository; ``.env`` stands beside it. Nothing else
reads the environment.

The tables inside, what is checked between them and how numbers are derived is in `jobclaim.specs`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from jobclaim.specs import run_folder, timings
from jobclaim.specs.base import Count, Seconds, TableName
from jobclaim.specs.checks import check
from jobclaim.specs.dashboard import SCRYPT_HASH, DashboardAlb, DashboardUser, HostNames, Users
from jobclaim.specs.dead_letters import DEAD_LETTER_RULES, DeadLetterRule, FailureKindName, rule_for
from jobclaim.specs.digest import digest_of, shared
from jobclaim.specs.groups import WorkerGroup
from jobclaim.specs.parsing import EndpointUrl, FromJson, Names, without_secrets
from jobclaim.specs.project import ConfigError
from jobclaim.specs.queues import QUEUE_PRESETS, QueueSpec, all_queues
from jobclaim.specs.quotas import (
    DEAD_LETTER_SUFFIX,
    FARGATE_MEMORY,
    ITEM_BUDGET,
    SQS_MAX_DELAY,
    SQS_MAX_NAME,
    SQS_MAX_VISIBILITY,
    dead_letters_of,
)
from jobclaim.specs.refusals import not_among, refuse_unknown
from jobclaim.specs.sources import DOTENV, ordered, refused
from jobclaim.specs.tasks import Limits, ScheduleSpec, TaskSpec, spec_of
from jobclaim.specs.variables import PREFIX, refuse_misplaced, refuse_unknown_variables, regions_default

__all__ = [
    "DEAD_LETTER_RULES",
    "DEAD_LETTER_SUFFIX",
    "FARGATE_MEMORY",
    "ITEM_BUDGET",
    "QUEUE_PRESETS",
    "SCRYPT_HASH",
    "SQS_MAX_DELAY",
    "SQS_MAX_NAME",
    "SQS_MAX_VISIBILITY",
    "DashboardAlb",
    "DashboardUser",
    "DeadLetterRule",
    "FailureKindName",
    "Limits",
    "QueueSpec",
    "ScheduleSpec",
    "Settings",
    "TaskSpec",
    "WorkerGroup",
    "dead_letters_of",
]


class Settings(BaseSettings):
    """All configuration of jobclaim; frozen once built. See the module's text for where values come from.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError` that names each field, the refused value and the remedy; or the configuration file that cannot
        be used.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_file=DOTENV,
        env_parse_none_str="null",
        dotenv_filtering="match_prefix",  # a .env is shared with other programs
        allow_inf_nan=False,
        validate_default=True,
    )

    # --- AWS
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "us-east-1"
    """Of the tables and the queues; default ``AWS_REGION``, then ``AWS_DEFAULT_REGION``, set by AWS where code runs.
    A process in another region sees an empty fleet of its own."""
    endpoint_url: EndpointUrl = None
    """One endpoint for all services, for local AWS. Left set in production, jobs go where no worker looks."""
    dynamodb_endpoint_url: EndpointUrl = None
    """Instead of ``endpoint_url``, for DynamoDB alone."""
    sqs_endpoint_url: EndpointUrl = None
    """Instead of ``endpoint_url``, for SQS alone."""
    s3_endpoint_url: EndpointUrl = None
    """Instead of ``endpoint_url``, for S3 alone."""
    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 3.0
    """Of one try to reach AWS. A request is tried again within the lease, so a long one only hides an outage."""
    read_timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Of one answer of AWS. Below the latency of a busy table, requests that succeeded are sent again."""

    # --- names
    job_table: TableName = "jobclaim-jobs"
    """Holds all jobs. Two processes that name different tables never see each other's jobs."""
    fleet_table: TableName = "jobclaim-fleet"
    """Holds what workers tell of themselves. Recovery that reads another one takes living workers for lost."""
    queue_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=40)] = "jobclaim-"
    """Stands before each logical name in SQS. Two stacks of an account with one prefix eat each other's messages."""
    queue_urls: FromJson[dict[str, str]] = {}
    """Logical queue name to URL; resolved by GetQueueUrl when absent."""

    # --- queues and tasks
    default_queue: str = "default"
    """Where tasks go that no route names."""
    recovery_queue: str = "recovery"
    """Where recovery's own task goes. It is added to ``queues``, and nothing else may wait in it."""
    queue_preset: Literal["documents", "service", "priority"] | None = None
    """Queues of `QUEUE_PRESETS` beside ``queues``; one of the same name in ``queues`` takes its place."""
    queues: FromJson[tuple[QueueSpec, ...]] = Field(default_factory=lambda: (QueueSpec(name="default"),))
    """All queues. One that is left out while it still holds messages is listened to by no worker."""
    tasks: FromJson[dict[str, TaskSpec]] = {}
    """By name or pattern, what differs from the queue. Of several patterns the first that fits counts."""
    schedules: FromJson[dict[str, ScheduleSpec]] = {}
    """What beat submits, by name. The name is part of each tick's job id: renaming one may run a tick twice."""
    task_modules: Names = ()
    """Modules that hold the users' tasks, imported by workers; a list, or names between commas. Jobs of a task in a
    module that is left out fail as CONFIGURATION after ``max_dispatches``."""

    # --- workers
    prefetch_multiplier: Count = 1
    """Messages that a worker fetches per process. Above 1 a job waits behind another one while a second worker is idle,
    and the visibility timeout grows with it."""
    polling_interval_seconds: Annotated[float, Field(gt=0)] = 0.1
    """Pause between two fetches. At Celery's own 1 a worker starts about as many jobs a second as it prefetches."""
    strict_priority: bool = True
    """A worker's lower queue waits as long as a higher one has messages, so it can starve. False: a queue rises by one
    priority for each second that it was not asked."""
    wait_time_seconds: Annotated[int, Field(ge=0, le=20)] = 10
    """SQS's long poll. At 0 an idle worker pays for a request at each ``polling_interval_seconds``."""
    stop_timeout_seconds: Annotated[int, Field(ge=0)] = 120
    """From SIGTERM to SIGKILL, as ECS or systemd has it. Longer here than there, running jobs are killed instead of
    given back."""
    visibility_slack_seconds: Annotated[int, Field(ge=0)] = 30
    """Added to the visibility timeout for the request that deletes the message; too short and it is delivered again."""
    max_tasks_per_child: Count | None = 1000
    """Jobs after which a process is replaced, against memory leaks; ``None`` (``null`` as text) for never."""
    heartbeat_seconds: Seconds = 10
    """Between two heartbeats: one write unit each. Commands (cancel, drain) take as long to arrive."""
    worker_dead_after_seconds: Seconds = 60
    """Silence after which a worker counts as lost and its jobs are recovered. At least four heartbeats, else a short
    outage of DynamoDB stops healthy workers."""
    cancel_grace_seconds: Annotated[float, Field(ge=0)] = 3.0
    """Time for a task to see `self.cancelled` and end by itself; the request takes a heartbeat to come."""
    worker_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "worker"
    """Names the worker's files in ``run_dir``. Two workers of a machine with one name overwrite each other's, and the
    health of one hides the other's death."""
    run_dir: str = ""
    """Folder of this machine's pid and liveness files; default: see `run_folder`."""
    worker_groups: FromJson[dict[str, WorkerGroup]] = {}
    """ECS services by name; default: one, ``workers``, for every queue but recovery's. See `groups`."""
    allow_low_visibility: bool = False
    """Start a worker although a queue's live visibility timeout is below the derived one: a job that waits long inside
    a worker may then be delivered twice (its claim still lets it run once)."""

    # --- jobs
    lease_grace_seconds: Seconds = 60
    """Added to the hard limit for the lease. Below the write of a result with its retries and the difference of two
    clocks, finished jobs are recorded as orphans."""
    max_attempts: Count = 3
    """Attempts that count, the first among them, before a job is FAILED; a task's own ``max_retries`` wins."""
    on_orphan: Literal["fail", "retry"] = "fail"
    """What recovery does with an orphan. ``retry`` may repeat the side effects of the attempt that was lost."""
    idempotency_ttl_seconds: Seconds = 3600
    """How long an equal submission gets the stored result instead of running; a task's own ``idempotency_ttl`` wins."""
    max_payload_bytes: Count = 200_000
    """Largest payload in the table; larger ones go to ``bucket`` or are refused. Each KB costs a write unit once."""
    inline_payload_bytes: Count = 3_072
    """Largest payload in the job's own item; a larger one has an item beside it, which lists and recovery do not read.
    Below 1 KB nothing is saved; set it to ``max_payload_bytes`` while workers of the first release run."""
    max_result_bytes: Count = 100_000
    """Largest result in an item; as ``max_payload_bytes``."""
    max_steps_bytes: Count = 100_000
    """What a job's finished steps, resumes and checkpoint may take together in its item; as ``max_payload_bytes``. Each
    KB costs a write unit per step and move."""
    progress_seconds: Annotated[float, Field(ge=0)] = 5.0
    """Least time between two writes of a job's progress: a write unit each, for each running job that tells it."""
    bucket: str | None = None
    """S3 bucket for larger payloads and results; without it they are refused. See jobs/storage/offload.py."""
    bucket_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9!_.*'()/-]*$", max_length=200)] = "jobclaim/"
    """Stands before each object's key; the bucket's lifecycle rule and the policies are for this prefix alone."""
    index_shards: Annotated[int, Field(ge=1, le=64)] = 4
    """Partitions of the index of open jobs. Never lower it while jobs are open: those in the shards that are gone are
    not found by recovery. More cost a query per pass each."""
    index_completed: bool = False
    """Whether completed jobs can be listed; a write unit more per job."""
    completed_retention_days: Annotated[float, Field(gt=0)] = 7
    """Until DynamoDB deletes a completed job, its result with it."""
    dead_retention_days: Annotated[float, Field(gt=0)] = 30
    """Until DynamoDB deletes a failed or cancelled job; after that nobody can retry it."""
    dead_letters: FromJson[dict[FailureKindName, DeadLetterRule]] = {}
    """By failure kind, what differs from `DEAD_LETTER_RULES`."""

    # --- alerts
    alert_topic_arn: str | None = None
    """SNS topic that gets alerts too; they are always logged."""
    alert_interval_seconds: Seconds = 60
    """Between two looks at what alerts are about."""
    alert_repeat_seconds: Seconds = 3600
    """Until an alert that still holds is raised again."""
    alert_clear_seconds: Seconds = 300
    """How long its cause must be gone before an alert is cleared; too short and one that comes and goes floods."""
    alert_duplicate_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of duplicate submissions that raises an alert."""
    alert_waiting: Count = 50
    """Dead letters waiting for a person that raise an alert."""
    alert_silence_seconds: Seconds = 600
    """Silence of recovery that raises an alert."""

    # --- recovery
    recovery_interval_seconds: Seconds = 10
    """Between two passes. With ``worker_dead_after_seconds`` the time until a lost worker's jobs are found: 70 s."""
    recovery_by_beat: bool = True
    """False: beat leaves recovery to a Lambda function or to ``jobclaim recover --every``. With neither, orphans and
    lost messages stay as they are."""
    redispatch_min_seconds: Seconds = 120
    """Least time that a due job may stay unclaimed before its message is sent again; see `redispatch_delay`."""
    max_dispatches: Count = 12
    """Messages of one attempt before its job is FAILED as CONFIGURATION, so that a task no worker knows cannot loop."""
    sweep_page_size: Annotated[int, Field(ge=1, le=100)] = 100
    """Jobs that recovery reads at once."""
    sweep_pages_per_shard: Count = 10
    """Pages per shard and pass; the next pass goes on where one stopped. Fewer let a flood of due jobs wait longer."""

    # --- logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least level that is written. The metric filters of `template.yaml` count INFO lines: above it they stay at 0."""
    log_format: Literal["json", "console"] = "json"
    """``json`` for machines, which the metric filters need; ``console`` for people."""
    log_arguments: Names = ()
    """Names of keyword arguments whose values log lines may show; all others are masked."""
    telemetry: Literal["off", "otlp", "prometheus"] = "off"
    """Traces and metrics by OTLP (extra `otel`), or metrics alone to be scraped (extra `prometheus`)."""
    telemetry_endpoint: EndpointUrl = None
    """OTLP over HTTP; default: OTEL_EXPORTER_OTLP_ENDPOINT."""
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] = 9464
    """Port that Prometheus scrapes; each worker of a machine needs its own."""

    # --- dashboard
    dashboard_hosts: HostNames = ()
    """Names under which browsers reach it, besides those of loopback; others are refused."""
    dashboard_users: FromJson[Users] = {}
    """By name, who signs in with a password."""
    dashboard_alb: FromJson[DashboardAlb | None] = None
    """The load balancer that signs people in; beside it, ``dashboard_users`` are for programs."""
    dashboard_arguments: Names = ()
    """Names of keyword arguments whose values pages show; ``*`` shows all, positional ones too."""
    dashboard_results: bool = False
    """Whether pages show results, messages and tracebacks, which may quote arguments."""

    if not TYPE_CHECKING:  # a type checker goes on comparing arguments with the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ConfigError as error:
                raise refused(error) from error
            except ValidationError as error:
                raise without_secrets(error) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, ``.env``, the project's configuration file; in this order."""
        return ordered(settings_cls, init_settings, env_settings, dotenv_settings)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_fields(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            refuse_misplaced(values)
            refuse_unknown(values, cls.model_fields, cls.__name__)
            values = {**regions_default(os.environ), **values}
        refuse_unknown_variables(os.environ, cls.model_fields)
        return values

    @field_validator("queues")
    @classmethod
    def _with_recovery_queue(cls, queues: tuple[QueueSpec, ...], info: ValidationInfo) -> tuple[QueueSpec, ...]:
        return all_queues(queues, info.data.get("queue_preset"), info.data.get("recovery_queue", "recovery"))

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        check(self)
        return self

    # --- look-ups
    @property
    def digest(self) -> str:
        """Short hash of all that the processes of a fleet must share; see `jobclaim.specs.digest` for what that is."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return digest_of(shared(values, {name: self.physical_name(name) for name in self.queue_names}))

    @property
    def groups(self) -> Mapping[str, WorkerGroup]:
        """Worker groups by name, recovery's own not among them."""
        rest = tuple(name for name in self.queue_names if name != self.recovery_queue)
        return self.worker_groups or {"workers": WorkerGroup(queues=rest)}

    @property
    def queue_names(self) -> tuple[str, ...]:
        """Logical names of all queues, the recovery queue among them."""
        return tuple(queue.name for queue in self.queues)

    def queue(self, name: str) -> QueueSpec:
        """Give the queue of that logical name.

        Raises
        ------
        ValueError
            No such queue; the message lists what there is.
        """
        for queue in self.queues:
            if queue.name == name:
                return queue
        raise ValueError(f"queue {name!r} {not_among(name, self.queue_names)}")

    def queue_of(self, task: str) -> str:
        """Logical queue that a task is routed to."""
        return self.task_spec(task).queue or self.default_queue

    def task_spec(self, task: str) -> TaskSpec:
        """Give what `tasks` says about a task: by its name, else by the first pattern that fits (``"reports.*"``)."""
        return spec_of(task, self.tasks)

    def dead_letter_rule(self, task: str, kind: str) -> DeadLetterRule:
        """What follows when a job of a task ended in a failure of that kind: the task's own rule, else the fleet's."""
        return rule_for(kind, self.dead_letters, self.task_spec(task).dead_letters)

    def limits(self, task: str, queue: str | None = None) -> Limits:
        """Soft and hard time limit of a task, seconds: its own, else those of its queue."""
        of_queue = self.queue(queue or self.queue_of(task))
        spec = self.task_spec(task)
        return Limits(soft=spec.soft_limit or of_queue.soft_limit, hard=spec.hard_limit or of_queue.hard_limit)

    def physical_name(self, queue: str) -> str:
        """Name of the SQS queue behind a logical one: the last part of its URL in `queue_urls`, else by the prefix."""
        url = self.queue_urls.get(queue)
        return url.rstrip("/").rsplit("/", 1)[-1] if url else self.queue_prefix + queue

    def dead_letter_name(self, queue: str) -> str:
        """Name of a queue's dead-letter queue in SQS."""
        return dead_letters_of(self.physical_name(queue))

    def dead_letter_url(self, queue: str) -> str | None:
        """URL of a queue's dead-letter queue where `queue_urls` gives the queue's; ``None``: GetQueueUrl knows it."""
        url = self.queue_urls.get(queue)
        return dead_letters_of(url) if url else None

    def endpoint(self, service: Literal["dynamodb", "sqs", "s3", "sns", "ecs"]) -> str | None:
        """Endpoint of an AWS service, ``None`` for AWS's own."""
        known = {"dynamodb": self.dynamodb_endpoint_url, "sqs": self.sqs_endpoint_url, "s3": self.s3_endpoint_url}
        own = known.get(service)
        return own or self.endpoint_url

    # --- derived numbers
    def longest_hard_limit(self, queue: str) -> int:
        """Longest hard limit of any task routed to the queue, seconds; at least the queue's own."""
        return timings.longest_hard_limit(self, queue)

    def visibility_timeout(self, queue: str) -> int:
        """Visibility timeout of a queue, seconds.

        ``max(visibility_factor x H, prefetch_multiplier x H + stop_timeout + slack)`` with H the longest hard limit
        routed to the queue.
        """
        return timings.visibility_timeout(self, queue)

    @property
    def claims_stop_after_seconds(self) -> int:
        """Seconds without a heartbeat after which a worker claims no more: two heartbeats before it counts as lost."""
        return timings.claims_stop_after(self)

    @property
    def drain_seconds(self) -> float:
        """Seconds that running jobs get at a stop; the rest of ``stop_timeout_seconds`` is for giving them back."""
        return timings.drain(self)

    @property
    def liveness_file(self) -> Path:
        """File that the worker's event loop touches while it turns."""
        return self.run_folder / f"{self.worker_name}.alive"

    @property
    def run_folder(self) -> Path:
        """`run_dir`, else ``jobclaim`` below ``$XDG_RUNTIME_DIR``, else below ``~/.local/state``."""
        return run_folder.path_of(self)

    def lease_seconds(self, queue: str, hard_limit: int | None = None) -> int:
        """How long a claim lasts, seconds: the queue's ``lease_seconds``, else hard limit + ``lease_grace_seconds``.

        A hard limit that only the code knows may exceed a fixed lease; then the lease is that limit + grace.
        """
        return timings.lease(self, queue, hard_limit)

    def age_alarm_seconds(self, queue: str) -> int:
        """Age of the oldest message at which a queue is late, seconds: SLA + longest hard limit."""
        return timings.age_alarm(self, queue)

    def redispatch_delay(self, queue: str, dispatches: int = 1) -> float:
        """Seconds that a due job may stay unclaimed before its message is taken for lost and sent again.

        ``max(redispatch_min_seconds, 2 x sla_seconds) x 2 ** (dispatches - 1)``, at most 12 h: a repeated dispatch
        waits longer each time, so that a queue with a backlog is not flooded with copies.
        """
        return timings.redispatch_delay(self, queue, dispatches)
