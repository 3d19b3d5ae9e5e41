"""The single source of configuration: a frozen, validated `Settings`, and every number derived from it.

Values come from, strongest first: arguments, ``JOBCLAIM_*`` environment variables, a ``.env`` file, the dictionary
``JOBCLAIM`` in a Django project's settings, the project's configuration file, and the defaults below. The configuration
file is the one that ``JOBCLAIM_CONFIG`` names, otherwise the table ``[tool.jobclaim]`` in the ``pyproject.toml`` of the
working directory or of the nearest parent directory that has one, up to the repository root; ``.env`` is read from the
same directory. Nothing else reads the environment.

`jobclaim.specs` holds the nested tables, the checks between fields and the derivation of numbers.
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
from jobclaim.specs.refusals import UnknownQueue, not_among, refuse_unknown
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


Service = Literal["dynamodb", "sqs", "s3", "sns", "ecs", "sts", "cloudwatch", "autoscaling"]


class Settings(BaseSettings):
    """All configuration of jobclaim, frozen once built. The module docstring says where values come from.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError` that names each field, the refused value and the remedy, or the configuration file that cannot be
        used.
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
    """AWS region of the tables and the queues; default ``AWS_REGION``, then ``AWS_DEFAULT_REGION``, which AWS sets
    where code runs. A process in another region sees an empty fleet of its own."""
    home_region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = None
    """The one region whose workers and recovery may act, where the job table is a global table; elsewhere they refuse
    to start. Without it, two regions that claim from replicas may both run a job."""
    endpoint_url: EndpointUrl = None
    """One endpoint for all services, for local AWS. If it is left set in production, jobs are written where no worker
    reads them.
    """
    dynamodb_endpoint_url: EndpointUrl = None
    """Overrides ``endpoint_url`` for DynamoDB."""
    sqs_endpoint_url: EndpointUrl = None
    """Overrides ``endpoint_url`` for SQS."""
    s3_endpoint_url: EndpointUrl = None
    """Overrides ``endpoint_url`` for S3."""
    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 3.0
    """Timeout of one connection attempt to AWS. Requests are retried within the lease, so a long one hides outages."""
    read_timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Timeout of one AWS response. Below the latency of a busy table, requests that succeeded are sent again."""

    # --- names
    job_table: TableName = "jobclaim-jobs"
    """Table that holds all jobs. Two processes that name different tables never see each other's jobs."""
    fleet_table: TableName = "jobclaim-fleet"
    """Table of workers' records. Recovery that reads a different one treats live workers as lost."""
    queue_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=40)] = "jobclaim-"
    """Prefix of each logical name in SQS. Two stacks of an account with one prefix consume each other's messages."""
    queue_urls: FromJson[dict[str, str]] = {}
    """URLs by logical queue name; a queue without an entry is resolved by GetQueueUrl."""

    # --- queues and tasks
    default_queue: str = "default"
    """Queue of tasks that no route names."""
    recovery_queue: str = "recovery"
    """Queue of recovery's own task. It is added to ``queues``, and no other task may use it."""
    queue_preset: Literal["documents", "service", "priority"] | None = None
    """Adds the queues of one of `QUEUE_PRESETS`; a queue of the same name in ``queues`` replaces the preset's."""
    queues: FromJson[tuple[QueueSpec, ...]] = Field(default_factory=lambda: (QueueSpec(name="default"),))
    """All queues. No worker listens to a queue that is removed while it still holds messages."""
    adopt_plain_messages: bool = True
    """Whether workers accept messages that name no job, as plain Celery sends them: a message for a `JobTask` becomes a
    job, and any other task is run. While it is on, anyone who may send to a queue can call the tasks of that queue with
    any arguments. If it is off, such messages go to the dead-letter queue with the reason. A `QueueSpec` may override
    it.
    """
    tasks: FromJson[dict[str, TaskSpec]] = {}
    """Per task name or pattern, overrides of the queue's values. The first matching pattern applies."""
    schedules: FromJson[dict[str, ScheduleSpec]] = {}
    """What beat submits, by name. The name is part of each tick's job id: renaming a schedule may run a tick twice."""
    task_modules: Names = ()
    """Modules with the users' tasks, imported by workers; a list, or names separated by commas. Jobs of a task whose
    module is missing here fail as CONFIGURATION after ``max_dispatches``."""

    # --- workers
    prefetch_multiplier: Count = 1
    """Messages that a worker fetches per process. Above 1 a job may wait behind another one while a second worker is
    idle, and the visibility timeout grows with it."""
    polling_interval_seconds: Annotated[float, Field(gt=0)] = 0.1
    """Pause between two fetches. With Celery's default of 1 a worker starts as many jobs a second as it prefetches."""
    strict_priority: bool = True
    """Strict priorities: a lower queue waits as long as a higher one has messages, so it can starve. False: a queue's
    priority rises by one for each second in which it was not polled."""
    wait_time_seconds: Annotated[int, Field(ge=0, le=20)] = 10
    """Long-poll time of SQS. With 0 an idle worker pays for a request every ``polling_interval_seconds``."""
    stop_timeout_seconds: Annotated[int, Field(ge=0)] = 120
    """Time from SIGTERM to SIGKILL, as set in ECS or systemd. If it is longer here than there, running jobs are killed
    instead of released."""
    visibility_slack_seconds: Annotated[int, Field(ge=0)] = 30
    """Added to the visibility timeout for the delete of the message. If it is too short, the message is redelivered."""
    max_tasks_per_child: Count | None = 1000
    """Jobs after which a process is replaced, against memory leaks; ``None`` (``null`` as text) means never."""
    heartbeat_seconds: Seconds = 10
    """Interval between two heartbeats; each costs one write unit. Commands (cancel, drain) take as long to arrive."""
    worker_dead_after_seconds: Seconds = 60
    """Time without a heartbeat after which a worker counts as lost and its jobs are recovered. At least four
    heartbeats; otherwise a short outage of DynamoDB stops healthy workers."""
    cancel_grace_seconds: Annotated[float, Field(ge=0)] = 3.0
    """Time for a task to check `self.cancelled` and end by itself; the request takes up to one heartbeat to arrive."""
    worker_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "worker"
    """Name of the worker's files in ``run_dir``. Two workers on one machine with the same name overwrite each other's
    files, and a healthy one hides that the other has stopped."""
    run_dir: str = ""
    """Directory of this machine's pid and liveness files; default: see `run_folder`."""
    worker_groups: FromJson[dict[str, WorkerGroup]] = {}
    """ECS services by name; default: one, ``workers``, for every queue except recovery's. See `groups`."""
    allow_low_visibility: bool = False
    """Start a worker even if a queue's live visibility timeout is below the derived one. A job that waits long inside a
    worker may then be delivered twice; its claim still lets it run only once."""

    # --- jobs
    lease_grace_seconds: Seconds = 60
    """Added to the hard limit to get the lease. If it is shorter than writing a result with its retries plus the clock
    difference between two machines, finished jobs are recorded as orphans."""
    max_attempts: Count = 3
    """Charged attempts, including the first, before a job is FAILED; a task's own ``max_retries`` takes precedence."""
    on_orphan: Literal["fail", "retry"] = "fail"
    """What recovery does with an orphan. ``retry`` may repeat the side effects of the lost attempt."""
    idempotency_ttl_seconds: Seconds = 3600
    """How long an equal submission gets the stored result instead of a run; a task's own ``idempotency_ttl`` takes
    precedence.
    """
    max_payload_bytes: Count = 200_000
    """Largest payload in the table; larger ones go to ``bucket`` or are refused. Each KB costs one write unit, once."""
    inline_payload_bytes: Count = 3_072
    """Largest payload in the job's own item; a larger one gets a second item, which lists and recovery do not read.
    Below 1 KB nothing is saved; set it to ``max_payload_bytes`` while workers of the first release are running."""
    max_result_bytes: Count = 100_000
    """Largest result in an item; otherwise as ``max_payload_bytes``."""
    max_steps_bytes: Count = 100_000
    """Largest total of a job's finished steps, resumes and checkpoint in its item; otherwise as ``max_payload_bytes``.
    Each KB costs one write unit per step and move."""
    progress_seconds: Annotated[float, Field(ge=0)] = 5.0
    """Minimum time between two writes of a job's progress; each costs one write unit per running job."""
    bucket: str | None = None
    """S3 bucket for larger payloads and results; without it they are refused. See jobs/storage/offload.py."""
    bucket_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9!_.*'()/-]*$", max_length=200)] = "jobclaim/"
    """Prefix of each object's key; the bucket's lifecycle rule and the IAM policies apply to this prefix only."""
    index_shards: Annotated[int, Field(ge=1, le=64)] = 4
    """Partitions of the index of open jobs. Never lower it while jobs are open: recovery does not find those in removed
    shards. Each shard costs one query per pass."""
    index_completed: bool = True
    """Whether completed jobs can be listed: one more write unit per job, $0.625 per million jobs in us-east-1; their
    deletion costs nothing. If it is off, a completed job is found by its id only. All queues share the index's shards
    here, which take 1,000 completions a second each: raise ``index_shards`` or switch it off for more
    (docs/scale.md).
    """
    completed_retention_days: Annotated[float, Field(gt=0)] = 7
    """Time until DynamoDB deletes a completed job together with its result."""
    dead_retention_days: Annotated[float, Field(gt=0)] = 30
    """Time until DynamoDB deletes a failed or cancelled job; after that it cannot be retried."""
    dead_letters: FromJson[dict[FailureKindName, DeadLetterRule]] = {}
    """Overrides of `DEAD_LETTER_RULES`, by failure kind."""

    # --- alerts
    alert_topic_arn: str | None = None
    """SNS topic that alerts are also sent to; they are always logged."""
    alert_interval_seconds: Seconds = 60
    """Interval between two evaluations of the alerts."""
    alert_repeat_seconds: Seconds = 3600
    """Time until an alert that still holds is raised again."""
    alert_clear_seconds: Seconds = 300
    """How long the cause must be gone before an alert is cleared. If it is too short, an intermittent cause raises a
    flood of alerts.
    """
    alert_duplicate_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Share of duplicate submissions that raises an alert."""
    alert_waiting: Count = 50
    """Number of dead letters awaiting a person that raises an alert."""
    alert_silence_seconds: Seconds = 600
    """Time without a recovery pass that raises an alert."""

    # --- recovery
    recovery_interval_seconds: Seconds = 10
    """Interval between two passes. With ``worker_dead_after_seconds``, a lost worker's jobs are found within 70 s."""
    recovery_by_beat: bool = True
    """False: beat leaves recovery to a Lambda function or to ``jobclaim recover --every``. Without any of them, orphans
    and jobs whose message was lost stay as they are."""
    redispatch_min_seconds: Seconds = 120
    """Minimum time that a due job may stay unclaimed before its message is sent again; see `redispatch_delay`."""
    max_dispatches: Count = 12
    """Messages per attempt before the job is FAILED as CONFIGURATION, so that a task unknown to workers cannot loop."""
    sweep_page_size: Annotated[int, Field(ge=1, le=100)] = 100
    """Jobs that recovery reads in one request."""
    sweep_pages_per_shard: Count = 10
    """Pages per shard and pass; the next pass continues from there. With fewer, a flood of due jobs waits longer."""

    # --- logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Lowest level that is written. The metric filters of `template.yaml` count INFO: above it they stay at 0."""
    log_format: Literal["json", "console"] = "json"
    """``json`` for machines (the metric filters need it); ``console`` for a terminal."""
    log_arguments: Names = ()
    """Keyword arguments whose values may appear in log lines; all others are masked."""
    statistics: bool = True
    """Whether runs are counted by task and hour, for `jobclaim tasks` and the dashboard: about one write request per
    process, task and five minutes. If it is off, both show nothing, and unusual failure rates are not reported."""
    telemetry: Literal["off", "otlp", "prometheus"] = "off"
    """Traces and metrics over OTLP (extra `otel`), or metrics only, for scraping (extra `prometheus`)."""
    telemetry_endpoint: EndpointUrl = None
    """OTLP/HTTP endpoint; default: OTEL_EXPORTER_OTLP_ENDPOINT."""
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] = 9464
    """Port that Prometheus scrapes; each worker on a machine needs its own."""

    # --- dashboard
    dashboard_hosts: HostNames = ()
    """Host names that the dashboard accepts besides loopback names; requests for any other name are refused."""
    dashboard_users: FromJson[Users] = {}
    """Users who sign in with a password, by name."""
    dashboard_alb: FromJson[DashboardAlb | None] = None
    """Load balancer that authenticates users; with it, ``dashboard_users`` are for programs."""
    dashboard_arguments: Names = ()
    """Keyword arguments whose values pages show; ``*`` shows all, including positional ones."""
    dashboard_results: bool = False
    """Whether pages show results, messages and tracebacks, which may quote arguments."""

    if not TYPE_CHECKING:  # a type checker still compares arguments with the fields

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
        """Return the sources in order: arguments, environment, ``.env``, the project's configuration file."""
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
        """Short hash of everything that the processes of a fleet must share; see `jobclaim.specs.digest`."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return digest_of(shared(values, {name: self.physical_name(name) for name in self.queue_names}))

    @property
    def groups(self) -> Mapping[str, WorkerGroup]:
        """Worker groups by name, without recovery's own."""
        rest = tuple(name for name in self.queue_names if name != self.recovery_queue)
        return self.worker_groups or {"workers": WorkerGroup(queues=rest)}

    @property
    def queue_names(self) -> tuple[str, ...]:
        """Logical names of all queues, including the recovery queue."""
        return tuple(queue.name for queue in self.queues)

    def queue(self, name: str) -> QueueSpec:
        """Return the queue with that logical name.

        Raises
        ------
        UnknownQueue
            The queue is not configured; the message lists the configured ones.
        """
        for queue in self.queues:
            if queue.name == name:
                return queue
        raise UnknownQueue(f"queue {name!r} {not_among(name, self.queue_names)}")

    def queue_of(self, task: str) -> str:
        """Return the logical queue that a task is routed to."""
        return self.task_spec(task).queue or self.default_queue

    def task_spec(self, task: str) -> TaskSpec:
        """Return what `tasks` says about a task: by its name, else by the first matching pattern (``"reports.*"``)."""
        return spec_of(task, self.tasks)

    def dead_letter_rule(self, task: str, kind: str) -> DeadLetterRule:
        """Return the rule for jobs of a task that fail with that kind: the task's own rule, else the fleet's."""
        return rule_for(kind, self.dead_letters, self.task_spec(task).dead_letters)

    def limits(self, task: str, queue: str | None = None) -> Limits:
        """Return the soft and hard time limits of a task in seconds: its own, else those of its queue."""
        of_queue = self.queue(queue or self.queue_of(task))
        spec = self.task_spec(task)
        return Limits(soft=spec.soft_limit or of_queue.soft_limit, hard=spec.hard_limit or of_queue.hard_limit)

    def physical_name(self, queue: str) -> str:
        """Return the name of a queue in SQS: the last part of its URL in `queue_urls`, else prefix and logical name."""
        url = self.queue_urls.get(queue)
        return url.rstrip("/").rsplit("/", 1)[-1] if url else self.queue_prefix + queue

    def dead_letter_name(self, queue: str) -> str:
        """Return the name of a queue's dead-letter queue in SQS."""
        return dead_letters_of(self.physical_name(queue))

    def dead_letter_url(self, queue: str) -> str | None:
        """Return the URL of a queue's dead-letter queue; ``None`` if `queue_urls` has none for the queue."""
        url = self.queue_urls.get(queue)
        return dead_letters_of(url) if url else None

    def endpoint(self, service: Service) -> str | None:
        """Return the endpoint of an AWS service, ``None`` for AWS's own."""
        known = {"dynamodb": self.dynamodb_endpoint_url, "sqs": self.sqs_endpoint_url, "s3": self.s3_endpoint_url}
        own = known.get(service)
        return own or self.endpoint_url

    @property
    def away_from_home(self) -> str:
        """Reason why jobs must not be acted on in this region; empty if they may be."""
        if self.home_region in (None, self.region):
            return ""
        return (
            f"region={self.region!r} is not home_region={self.home_region!r}, and two regions that claim from replicas "
            "of one table may both run a job; to fail over, stop the workers there and set JOBCLAIM_HOME_REGION="
            f"{self.region} for every process"
        )

    # --- derived numbers
    def longest_hard_limit(self, queue: str) -> int:
        """Return the longest hard limit of any task routed to the queue, in seconds; at least the queue's own."""
        return timings.longest_hard_limit(self, queue)

    def visibility_timeout(self, queue: str) -> int:
        """Return the visibility timeout of a queue in seconds.

        It is ``max(visibility_factor x H, prefetch_multiplier x H + stop_timeout + slack)``, with H the longest hard
        limit routed to the queue.
        """
        return timings.visibility_timeout(self, queue)

    @property
    def claims_stop_after_seconds(self) -> int:
        """Seconds without a heartbeat after which a worker stops claiming: two heartbeats before it counts as lost."""
        return timings.claims_stop_after(self)

    @property
    def drain_seconds(self) -> float:
        """Seconds that running jobs get at a stop; the rest of ``stop_timeout_seconds`` is for releasing them."""
        return timings.drain(self)

    @property
    def liveness_file(self) -> Path:
        """File that the worker's event loop touches while it is running."""
        return self.run_folder / f"{self.worker_name}.alive"

    @property
    def run_folder(self) -> Path:
        """`run_dir`, else ``jobclaim`` in ``$XDG_RUNTIME_DIR``, else in ``~/.local/state``."""
        return run_folder.path_of(self)

    def lease_seconds(self, queue: str, hard_limit: int | None = None) -> int:
        """Return a claim's lease in seconds: the queue's ``lease_seconds``, else hard limit + ``lease_grace_seconds``.

        A hard limit that only the code knows may exceed a fixed lease; the lease is then that limit + grace.
        """
        return timings.lease(self, queue, hard_limit)

    def age_alarm_seconds(self, queue: str) -> int:
        """Return the age in seconds of the oldest message at which a queue misses its SLA: SLA + longest hard limit."""
        return timings.age_alarm(self, queue)

    def redispatch_delay(self, queue: str, dispatches: int = 1) -> float:
        """Return how many seconds a due job may stay unclaimed before its message is considered lost and sent again.

        It is ``max(redispatch_min_seconds, 2 x sla_seconds) x 2 ** (dispatches - 1)``, at most 12 h: each redispatch
        waits longer, so that a queue with a backlog is not flooded with copies.
        """
        return timings.redispatch_delay(self, queue, dispatches)
