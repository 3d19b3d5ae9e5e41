"""The one source of configuration: a frozen, validated `Settings`, and every number that is derived from it.

Values come from, strongest first: arguments, ``JOBCLAIM_*`` environment variables, a ``.env`` file, the
``[tool.jobclaim]`` table of ``pyproject.toml``, the defaults below. Nothing else reads the environment.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
)

SQS_MAX_VISIBILITY: Final = 43_200
"""Seconds; 12 hours is SQS's own cap on a visibility timeout (AWS, "Amazon SQS message quotas")."""
SQS_MAX_DELAY: Final = 900
"""Seconds; the longest ``DelaySeconds`` that SQS takes (AWS, "Amazon SQS message quotas")."""
SQS_MAX_NAME: Final = 80
"""Characters; the longest queue name that SQS takes."""
ITEM_BUDGET: Final = 335_000
"""Bytes that payload and result may take together: DynamoDB's item limit of 400 KB less room for all that a job holds
besides: ids of the longest kind, what its messages carry, and ten ended attempts with their failures."""
DEAD_LETTER_SUFFIX: Final = "-dlq"
SCRYPT_HASH: Final = r"scrypt\$\d{4,7}\$\d{1,2}\$\d{1,2}\$[A-Za-z0-9_-]{22,}\$[A-Za-z0-9_-]{43}"
"""What a stored password looks like: cost, block size, parallelism, salt, key."""
FARGATE_MEMORY: Final = {
    256: (512, 2048),
    512: (1024, 4096),
    1024: (2048, 8192),
    2048: (4096, 16_384),
    4096: (8192, 30_720),
    8192: (16_384, 61_440),
    16384: (32_768, 122_880),
}
"""MiB, least and most, that Fargate gives a task of so many CPU units (AWS, "Task CPU and memory")."""

SECRET_FIELDS: Final = frozenset({"dashboard_users"})
"""Fields whose values no message quotes: where a password's hash belongs, somebody will write the password."""
HIDDEN: Final = "(not shown)"

_PREFIX: Final = "JOBCLAIM_"
_NOT_SETTINGS: Final = frozenset({"REQUIRE_REAL", "CACHE", "TEST_EVIDENCE"})  # read by the test suite only

Seconds = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
TableName = Annotated[str, Field(min_length=3, max_length=255, pattern=r"^[A-Za-z0-9_.-]+$")]


class SettingsModel(BaseModel):
    """Shared behaviour of the nested tables: frozen, and an unknown field answers "did you mean"."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_fields(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            _refuse_unknown(values, cls.model_fields, cls.__name__)
        return values


class QueueSpec(SettingsModel):
    """One queue: who may wait how long, and how long its tasks may run.

    Attributes
    ----------
    name : str
        Logical name, as in ``-Q`` and in routes. SQS sees ``queue_prefix + name``.
    priority : int
        0 to 10, higher first. Workers poll their queues in this order.
    sla_seconds : float
        Longest acceptable wait from submission to claim, seconds.
    soft_limit, hard_limit : int
        Celery's time limits for tasks of this queue, seconds; the soft one must come first.
    visibility_factor : float
        Visibility timeout as a multiple of the longest hard limit routed here (2, as long-running Celery services use).
    lease_seconds : int, optional
        How long a claim lasts, seconds. Default: hard limit + ``Settings.lease_grace_seconds``.
    concurrency : int
        Processes of a worker dedicated to this queue.
    max_receive_count : int
        Deliveries before SQS moves a message to the dead-letter queue.
    """

    name: str
    priority: Annotated[int, Field(ge=0, le=10)] = 5
    sla_seconds: Annotated[float, Field(gt=0)] = 60.0
    soft_limit: Seconds = 1680
    hard_limit: Seconds = 1800
    visibility_factor: Annotated[float, Field(ge=1)] = 2.0
    lease_seconds: Seconds | None = None
    concurrency: Count = 4
    max_receive_count: Count = 5

    @field_validator("name")
    @classmethod
    def _legal_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"queue name {name!r} is illegal in SQS; use letters, digits, '-' and '_' only")
        if name.endswith(DEAD_LETTER_SUFFIX):
            raise ValueError(
                f"queue name {name!r} ends in {DEAD_LETTER_SUFFIX!r}, which names dead-letter queues; rename it"
            )
        return name

    @model_validator(mode="after")
    def _limits_in_order(self) -> QueueSpec:
        _check_limits(f"queue {self.name!r}", self.soft_limit, self.hard_limit)
        if self.lease_seconds is not None and self.lease_seconds <= self.hard_limit:
            raise ValueError(
                f"queue {self.name!r}: lease_seconds={self.lease_seconds} must be above hard_limit={self.hard_limit}, "
                "else a running job looks like an orphan; raise lease_seconds or leave it out"
            )
        return self


FailureKindName = Literal["TRANSIENT", "EXTERNAL", "CONFIGURATION", "PERMANENT", "TIMEOUT", "ORPHANED", "CANCELLED"]


class DeadLetterRule(SettingsModel):
    """How often and when recovery starts a failed job again by itself, before it waits for a person.

    Attributes
    ----------
    retries : int
        0 for none.
    after_seconds : float
        From the failure to the first retry, seconds.
    factor : float
        By which each further delay is longer than the one before.
    """

    retries: Annotated[int, Field(ge=0, le=20)]
    after_seconds: Annotated[float, Field(gt=0, le=2_592_000)] = 300.0
    factor: Annotated[float, Field(ge=1, le=100)] = 4.0

    def delay_seconds(self, done: int) -> float | None:
        """Seconds from a failure to the next retry after ``done`` retries; ``None`` when there is no more."""
        if done >= self.retries:
            return None
        return min(self.after_seconds * self.factor**done, 2_592_000.0)


class TaskSpec(SettingsModel):
    """Where one task goes and how long it may run, when that differs from its queue.

    Attributes
    ----------
    queue : str, optional
        Queue that the task is routed to; default `Settings.default_queue`.
    soft_limit, hard_limit : int, optional
        Seconds; default those of the queue.
    critical : bool
        Whether any failure of it raises an alert.
    dead_letters : dict
        Rules by failure kind that differ from those of `Settings.dead_letters`.
    """

    queue: str | None = None
    soft_limit: Seconds | None = None
    hard_limit: Seconds | None = None
    critical: bool = False
    dead_letters: dict[FailureKindName, DeadLetterRule] = {}


class ScheduleSpec(SettingsModel):
    """A task that beat submits again and again; each tick is one job, however many beats run.

    Attributes
    ----------
    task : str
        Name of the task.
    every : float, optional
        Seconds between two ticks, counted from the epoch: 3600 is every full hour (UTC).
    cron : str, optional
        Minute, hour, day of month, month, day of week, as in crontab(5); UTC. Either this or ``every``.
    args, kwargs : optional
        Of each call.
    queue : str, optional
        Default: where the task is routed.
    expires : float, optional
        Seconds after its time at which a tick that has not started is dropped; default when the next one is due.
    """

    task: Annotated[str, Field(min_length=1)]
    every: Annotated[float, Field(ge=1)] | None = None
    cron: str | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    queue: str | None = None
    expires: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_rhythm(self) -> ScheduleSpec:
        if (self.every is None) == (self.cron is None):
            raise ValueError(f"schedule of {self.task!r} needs either every or cron; give one of the two")
        if self.cron is not None and len(self.cron.split()) != 5:
            raise ValueError(
                f"cron={self.cron!r} has {len(self.cron.split())} fields; write five: minute, hour, day of month, "
                "month, day of week"
            )
        return self


class WorkerGroup(SettingsModel):
    """Workers that listen on the same queues: one ECS service in `template.yaml`.

    Attributes
    ----------
    queues : tuple of str
        Logical names; a queue belongs to one group, and the recovery queue to none: it has a service of its own.
    cpu, memory : int
        Of one Fargate task: CPU units (1024 are a core) and MiB.
    concurrency : int, optional
        Processes of one task; default the most that one of its queues asks for.
    min_tasks, max_tasks : int
        Bounds of the autoscaling.
    spot : bool
        Whether the parameter ``SpotWeight`` may put tasks of this group on interruptible capacity.
    """

    queues: tuple[str, ...]
    cpu: Literal[256, 512, 1024, 2048, 4096, 8192, 16384] = 1024
    memory: Annotated[int, Field(ge=512, le=122_880)] = 2048
    concurrency: Count | None = None
    min_tasks: Annotated[int, Field(ge=0)] = 1
    max_tasks: Count = 10
    spot: bool = True

    @model_validator(mode="after")
    def _bounds_in_order(self) -> WorkerGroup:
        if self.min_tasks > self.max_tasks:
            raise ValueError(
                f"worker group: min_tasks={self.min_tasks} is above max_tasks={self.max_tasks}; raise max_tasks"
            )
        if not self.queues:
            raise ValueError("worker group: queues is empty, so its workers would have nothing to do; name a queue")
        least, most = FARGATE_MEMORY[self.cpu]
        if not least <= self.memory <= most or self.memory % (1024 if self.memory >= 1024 else 512):
            raise ValueError(
                f"worker group: Fargate has no task of cpu={self.cpu} with memory={self.memory} MiB; "
                f"give {least} to {most} in whole GiB"
            )
        return self


class DashboardUser(SettingsModel):
    """Somebody who signs in to the dashboard with a password (HTTP basic authentication).

    Attributes
    ----------
    password : str
        Its hash, as ``jobclaim dashboard hash-password`` prints it; never the password itself.
    operator : bool
        Whether the user may act; others look.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    password: Annotated[str, Field(repr=False)]
    operator: bool = False

    @field_validator("password")
    @classmethod
    def _hashed(cls, password: str) -> str:
        if not re.fullmatch(SCRYPT_HASH, password):
            raise ValueError("password is no scrypt hash; make one with `jobclaim dashboard hash-password`")
        return password


class DashboardAlb(SettingsModel):
    """An Application Load Balancer that signs people in by OpenID Connect and passes on who they are.

    Attributes
    ----------
    signer : str
        ARN of the load balancer: only its tokens count.
    issuer, client : str
        Issuer and client id of its OIDC action.
    user_claim : str
        Claim that names the person, in the audit trail too.
    operators : tuple of str
        Who may act: values of ``operator_claim``, which may be a list of groups; everybody else looks.
    operator_claim : str, optional
        Default ``user_claim``.
    key_url : str, optional
        Where the region's public keys are; default AWS's own. GovCloud's differ.
    """

    signer: Annotated[
        str, Field(pattern=r"^arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:[0-9]{12}:loadbalancer/app/[^/]+/[^/]+$")
    ]
    issuer: Annotated[str, Field(pattern=r"^https://")]
    client: Annotated[str, Field(min_length=1)]
    user_claim: Annotated[str, Field(min_length=1)] = "email"
    operators: tuple[str, ...] = ()
    operator_claim: str | None = None
    key_url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] | None = None


class Limits(SettingsModel):
    """Time limits of a task, seconds."""

    soft: int
    hard: int


class Settings(BaseSettings):
    """All configuration of jobclaim; frozen once built. See the module's text for where values come from.

    Raises
    ------
    pydantic.ValidationError
        A `ValueError` that names each field, the refused value and the remedy.
    """

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
        env_file=".env",
        dotenv_filtering="match_prefix",  # a .env is shared with other programs
        allow_inf_nan=False,
        pyproject_toml_table_header=("tool", "jobclaim"),
        validate_default=True,
    )

    # --- AWS
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "us-east-1"
    endpoint_url: str | None = Field(None, description="One endpoint for all services; for local AWS.")
    dynamodb_endpoint_url: str | None = None
    sqs_endpoint_url: str | None = None
    s3_endpoint_url: str | None = None
    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 3.0
    read_timeout_seconds: Annotated[float, Field(gt=0)] = 10.0

    # --- names
    job_table: TableName = "jobclaim-jobs"
    fleet_table: TableName = "jobclaim-fleet"
    queue_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", max_length=40)] = "jobclaim-"
    queue_urls: Annotated[dict[str, str], NoDecode] = Field(
        {}, description="Logical queue name to URL; resolved by GetQueueUrl when absent."
    )

    # --- queues and tasks
    default_queue: str = "default"
    recovery_queue: str = "recovery"
    queue_preset: Literal["documents", "service", "priority"] | None = Field(
        None, description="Queues of `QUEUE_PRESETS` beside `queues`; one of the same name in `queues` takes its place."
    )
    queues: Annotated[tuple[QueueSpec, ...], NoDecode] = Field(default_factory=lambda: (QueueSpec(name="default"),))
    tasks: Annotated[dict[str, TaskSpec], NoDecode] = {}
    schedules: Annotated[dict[str, ScheduleSpec], NoDecode] = Field({}, description="What beat submits, by name.")
    task_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Modules that hold the users' tasks, imported by workers; a list, or names between commas."
    )

    # --- workers
    prefetch_multiplier: Count = 1
    polling_interval_seconds: Annotated[float, Field(gt=0)] = 0.1
    strict_priority: bool = Field(
        True,
        description="A worker's lower queue waits as long as a higher one has messages, so it can starve. False: a "
        "queue rises by one priority for each second that it was not asked.",
    )
    wait_time_seconds: Annotated[int, Field(ge=0, le=20)] = 10
    stop_timeout_seconds: Annotated[int, Field(ge=0)] = 120
    visibility_slack_seconds: Annotated[int, Field(ge=0)] = 30
    max_tasks_per_child: Count | None = 1000
    heartbeat_seconds: Seconds = 10
    worker_dead_after_seconds: Seconds = 60
    cancel_grace_seconds: Annotated[float, Field(ge=0)] = Field(
        3.0,
        description="Time for a task to see `self.cancelled` and end by itself; the request takes a heartbeat to come.",
    )
    worker_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = Field(
        "worker", description="Names the worker's files in `run_dir`; give each worker of a machine its own."
    )
    run_dir: str = Field("", description="Folder of this machine's pid and liveness files; default: see `run_folder`.")

    worker_groups: Annotated[dict[str, WorkerGroup], NoDecode] = Field(
        {}, description="ECS services by name; default: one, `workers`, for every queue but recovery's. See `groups`."
    )
    allow_low_visibility: bool = Field(
        False,
        description="Start a worker although a queue's live visibility timeout is below the derived one: a job that "
        "waits long inside a worker may then be delivered twice (its claim still lets it run once).",
    )

    # --- jobs
    lease_grace_seconds: Seconds = 60
    max_attempts: Count = 3
    on_orphan: Literal["fail", "retry"] = "fail"
    idempotency_ttl_seconds: Seconds = 3600
    max_payload_bytes: Count = 200_000
    max_result_bytes: Count = 100_000
    bucket: str | None = Field(
        None, description="S3 bucket for larger payloads and results; without it they are refused. See jobs/offload.py."
    )
    bucket_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9!_.*'()/-]*$", max_length=200)] = "jobclaim/"
    index_shards: Annotated[int, Field(ge=1, le=64)] = 4
    index_completed: bool = False
    completed_retention_days: Annotated[float, Field(gt=0)] = 7
    dead_retention_days: Annotated[float, Field(gt=0)] = 30
    dead_letters: Annotated[dict[FailureKindName, DeadLetterRule], NoDecode] = Field(
        {}, description="By failure kind, what differs from `DEAD_LETTER_RULES`."
    )

    # --- alerts
    alert_topic_arn: str | None = Field(None, description="SNS topic that gets alerts too; they are always logged.")
    alert_interval_seconds: Seconds = 60
    alert_repeat_seconds: Seconds = 3600
    alert_clear_seconds: Seconds = 300
    alert_duplicate_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    alert_waiting: Count = 50
    alert_silence_seconds: Seconds = 600

    # --- recovery
    recovery_interval_seconds: Seconds = Field(
        10,
        description="With `worker_dead_after_seconds` the time until a lost worker's jobs are settled: 70 s at most.",
    )
    recovery_by_beat: bool = Field(
        True, description="False: beat leaves recovery to a Lambda function or to `jobclaim recover --every`."
    )
    redispatch_min_seconds: Seconds = 120
    max_dispatches: Count = 12
    sweep_page_size: Annotated[int, Field(ge=1, le=100)] = 100
    sweep_pages_per_shard: Count = 10

    # --- logs
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"
    log_arguments: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Names of keyword arguments whose values log lines may show; all others are masked."
    )
    telemetry: Literal["off", "otlp", "prometheus"] = Field(
        "off",
        description="Traces and metrics by OTLP (extra `otel`), or metrics alone to be scraped (extra `prometheus`).",
    )
    telemetry_endpoint: str | None = Field(None, description="OTLP over HTTP; default: OTEL_EXPORTER_OTLP_ENDPOINT.")
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] = Field(9464, description="Port that Prometheus scrapes.")

    # --- dashboard
    dashboard_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names under which browsers reach it, besides those of loopback; others are refused.",
    )
    dashboard_users: Annotated[dict[str, DashboardUser], NoDecode] = Field(
        {}, description="By name, who signs in with a password."
    )
    dashboard_alb: Annotated[DashboardAlb | None, NoDecode] = Field(
        None, description="The load balancer that signs people in; beside it, `dashboard_users` are for programs."
    )
    dashboard_arguments: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Names of keyword arguments whose values pages show; `*` shows all, positional ones too."
    )
    dashboard_results: bool = Field(
        False,
        description="Whether pages show results, messages and tracebacks, which may quote arguments.",
    )

    if not TYPE_CHECKING:  # a type checker goes on comparing arguments with the fields

        def __init__(self, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise _without_secrets(error) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, ``.env``, ``[tool.jobclaim]`` in ``pyproject.toml``; in this order."""
        return init_settings, env_settings, dotenv_settings, PyprojectTomlConfigSettingsSource(settings_cls)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_fields(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            _refuse_unknown(values, cls.model_fields, cls.__name__)
        in_environment = {
            key[len(_PREFIX) :].split("__")[0].lower(): value
            for key, value in os.environ.items()
            if key.upper().startswith(_PREFIX) and key[len(_PREFIX) :] not in _NOT_SETTINGS
        }
        _refuse_unknown(in_environment, cls.model_fields, f"the environment ({_PREFIX}*)")
        return values

    @field_validator(
        "queue_urls",
        "queues",
        "tasks",
        "dead_letters",
        "schedules",
        "worker_groups",
        "dashboard_users",
        "dashboard_alb",
        mode="before",
    )
    @classmethod
    def _from_json(cls, value: Any, info: ValidationInfo) -> Any:
        """Read what the environment gives as text."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            example = '[{"name": "default"}]' if info.field_name == "queues" else '{"name": ...}'
            shown = HIDDEN if info.field_name in SECRET_FIELDS else repr(value)
            raise ValueError(f"{info.field_name}={shown} is no JSON ({error}); write it as {example}") from error

    @field_validator("task_modules", "log_arguments", "dashboard_hosts", "dashboard_arguments", mode="before")
    @classmethod
    def _from_list(cls, value: Any, info: ValidationInfo) -> Any:
        """Read ``["a", "b"]`` or ``a,b``."""
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            return cls._from_json_list(value, str(info.field_name))
        return tuple(name.strip() for name in value.split(",") if name.strip())

    @staticmethod
    def _from_json_list(value: str, field: str) -> Any:
        try:
            return json.loads(value)
        except ValueError as error:
            raise ValueError(f'{field}={value!r} is no JSON ({error}); write a,b or ["a", "b"]') from error

    @field_validator(
        "endpoint_url", "dynamodb_endpoint_url", "sqs_endpoint_url", "s3_endpoint_url", "telemetry_endpoint"
    )
    @classmethod
    def _endpoint_is_a_url(cls, url: str | None) -> str | None:
        if not url:  # an empty variable of a compose file
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"endpoint {url!r} is no URL; write http://host:port, or leave it out for AWS")
        return url

    @field_validator("dashboard_hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]", host):
                raise ValueError(
                    f"dashboard_hosts: {host!r} is no host name; write it as jobs.example.com, without scheme and port"
                )
        return tuple(host.lower() for host in hosts)

    @field_validator("dashboard_users")
    @classmethod
    def _users_have_names(cls, users: dict[str, DashboardUser]) -> dict[str, DashboardUser]:
        for name in users:
            if not re.fullmatch(r"[^\s:\x00-\x1f\x7f]{1,100}", name):
                raise ValueError(
                    f"dashboard_users: {name!r} is no user name; write 1 to 100 characters without ':' and blanks"
                )
        return users

    @field_validator("queues")
    @classmethod
    def _with_recovery_queue(cls, queues: tuple[QueueSpec, ...], info: ValidationInfo) -> tuple[QueueSpec, ...]:
        names = [queue.name for queue in queues]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"queue names {repeated} are given twice; keep one QueueSpec each")
        preset = QUEUE_PRESETS.get(info.data.get("queue_preset") or "", ())
        queues = (*(queue for queue in preset if queue.name not in names), *queues)
        recovery = info.data.get("recovery_queue", "recovery")
        if recovery in names:
            return queues
        return (*queues, QueueSpec(name=recovery, priority=10, soft_limit=240, hard_limit=300, concurrency=1))

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.default_queue not in self.queue_names:
            raise ValueError(f"default_queue={self.default_queue!r} {_not_among(self.default_queue, self.queue_names)}")
        if self.default_queue == self.recovery_queue:
            raise ValueError(
                f"default_queue={self.default_queue!r} is recovery_queue too, and a recovery that waits behind the "
                "backlog it must repair is no recovery; give recovery a queue of its own"
            )
        self._check_tasks()
        self._check_schedules()
        self._check_queues()
        self._check_groups()
        for name in self.queue_urls:
            if name not in self.queue_names:
                raise ValueError(f"queue_urls[{name!r}] {_not_among(name, self.queue_names)}")
        if self.job_table == self.fleet_table:
            raise ValueError(f"job_table and fleet_table are both {self.job_table!r}; give each a name of its own")
        if self.max_payload_bytes + self.max_result_bytes > ITEM_BUDGET:
            raise ValueError(
                f"max_payload_bytes={self.max_payload_bytes} + max_result_bytes={self.max_result_bytes} exceed the "
                f"{ITEM_BUDGET} bytes that a DynamoDB item has room for; lower one of them"
            )
        if self.worker_dead_after_seconds < 4 * self.heartbeat_seconds:
            raise ValueError(
                f"worker_dead_after_seconds={self.worker_dead_after_seconds} is less than four heartbeats of "
                f"{self.heartbeat_seconds} s, so one lost heartbeat stops a healthy worker; raise it or beat faster"
            )
        return self

    def _check_schedules(self) -> None:
        for name, schedule in self.schedules.items():
            if schedule.queue is not None and schedule.queue not in self.queue_names:
                problem = _not_among(schedule.queue, self.queue_names)
                raise ValueError(f"schedules[{name!r}].queue={schedule.queue!r} {problem}")
            if not 0 < len(name) <= 200:
                raise ValueError(
                    f"schedule name {name!r} must have 1 to 200 characters: the ids of its jobs begin with it"
                )

    def _check_tasks(self) -> None:
        for name, task in self.tasks.items():
            if task.queue is not None and task.queue not in self.queue_names:
                raise ValueError(f"tasks[{name!r}].queue={task.queue!r} {_not_among(task.queue, self.queue_names)}")
            limits = self.limits(name)
            _check_limits(f"task {name!r}", limits.soft, limits.hard)

    def _check_queues(self) -> None:
        for queue in self.queues:
            physical = self.dead_letter_name(queue.name)
            if len(physical) > SQS_MAX_NAME and queue.name not in self.queue_urls:
                raise ValueError(
                    f"queue {physical!r} has {len(physical)} characters, SQS takes {SQS_MAX_NAME}; shorten it"
                )
            needed = self.visibility_timeout(queue.name)
            if needed > SQS_MAX_VISIBILITY:
                raise ValueError(
                    f"queue {queue.name!r} needs a visibility timeout of {needed} s for a longest hard limit of "
                    f"{self.longest_hard_limit(queue.name)} s; SQS allows {SQS_MAX_VISIBILITY}. Lower hard_limit or "
                    f"visibility_factor, or split the task into shorter ones"
                )
            lease, hard = queue.lease_seconds, self.longest_hard_limit(queue.name)
            if lease is not None and lease <= hard:
                raise ValueError(
                    f"queue {queue.name!r}: lease_seconds={lease} must be above the longest hard limit routed to it, "
                    f"{hard}; raise lease_seconds or leave it out"
                )

    def _check_groups(self) -> None:
        homes: dict[str, str] = {}
        for name, group in self.worker_groups.items():
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
                raise ValueError(f"worker group name {name!r} is illegal; use small letters, digits and '-' only")
            for queue in group.queues:
                self._check_group_queue(name, queue)
                if queue in homes:
                    raise ValueError(f"queue {queue!r} is in the worker groups {homes[queue]!r} and {name!r}; keep one")
                homes[queue] = name
        unheard = [name for name in self.queue_names if name not in homes and name != self.recovery_queue]
        if self.worker_groups and unheard:
            raise ValueError(f"no worker group listens on the queues {unheard}; add them to one of worker_groups")

    def _check_group_queue(self, group: str, queue: str) -> None:
        if queue not in self.queue_names:
            raise ValueError(f"worker_groups[{group!r}].queues: {queue!r} {_not_among(queue, self.queue_names)}")
        if queue == self.recovery_queue:
            raise ValueError(
                f"worker_groups[{group!r}] listens on recovery_queue={queue!r}, where recovery would wait behind long "
                "jobs; take it out, recovery gets a worker of its own"
            )

    # --- look-ups
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
        raise ValueError(f"queue {name!r} {_not_among(name, self.queue_names)}")

    def queue_of(self, task: str) -> str:
        """Logical queue that a task is routed to."""
        return self.task_spec(task).queue or self.default_queue

    def task_spec(self, task: str) -> TaskSpec:
        """Give what `tasks` says about a task: by its name, else by the first pattern that fits (``"reports.*"``)."""
        exact = self.tasks.get(task)
        if exact is not None:
            return exact
        return next((spec for name, spec in self.tasks.items() if fnmatchcase(task, name)), TaskSpec())

    def dead_letter_rule(self, task: str, kind: str) -> DeadLetterRule:
        """What follows when a job of a task ended in a failure of that kind: the task's own rule, else the fleet's."""
        known: dict[str, DeadLetterRule] = dict(DEAD_LETTER_RULES)
        known.update({str(name): rule for name, rule in self.dead_letters.items()})
        known.update({str(name): rule for name, rule in self.task_spec(task).dead_letters.items()})
        return known.get(kind, DeadLetterRule(retries=0))

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
        routed = [self.limits(task).hard for task in self.tasks if self.queue_of(task) == queue]
        return max([self.queue(queue).hard_limit, *routed])

    def visibility_timeout(self, queue: str) -> int:
        """Visibility timeout of a queue, seconds.

        ``max(visibility_factor x H, prefetch_multiplier x H + stop_timeout + slack)`` with H the longest hard limit
        routed to the queue. The first term is the rule of thumb of long-running Celery services (soft 1680 < hard 1800
        -> 3600). The second is the longest time that a message can wait inside a worker: behind the prefetched ones
        before it, through a stop, and until the request to delete it has arrived.
        """
        hard = self.longest_hard_limit(queue)
        waits = self.prefetch_multiplier * hard + self.stop_timeout_seconds + self.visibility_slack_seconds
        return max(math.ceil(self.queue(queue).visibility_factor * hard), waits)

    @property
    def claims_stop_after_seconds(self) -> int:
        """Seconds without a heartbeat after which a worker claims no more: two heartbeats before it counts as dead.

        What it claims until then is in its record one heartbeat later. The other one is for that request's way and for
        the difference between its clock and recovery's.
        """
        return self.worker_dead_after_seconds - 2 * self.heartbeat_seconds

    @property
    def drain_seconds(self) -> float:
        """Seconds that running jobs get at a stop; the rest of ``stop_timeout_seconds`` is for giving them back."""
        return self.stop_timeout_seconds - min(10.0, self.stop_timeout_seconds / 4)

    @property
    def liveness_file(self) -> Path:
        """File that the worker's event loop touches while it turns."""
        return self.run_folder / f"{self.worker_name}.alive"

    @property
    def run_folder(self) -> Path:
        """`run_dir`, else ``jobclaim`` in ``$XDG_RUNTIME_DIR``, else one of this user's own in the temporary folder."""
        if self.run_dir:
            return Path(self.run_dir)
        own = os.environ.get("XDG_RUNTIME_DIR")
        return Path(own) / "jobclaim" if own else Path(tempfile.gettempdir()) / f"jobclaim-{os.getuid()}"

    def lease_seconds(self, queue: str, hard_limit: int | None = None) -> int:
        """How long a claim lasts, seconds: the queue's ``lease_seconds``, else hard limit + ``lease_grace_seconds``.

        A hard limit that only the code knows may exceed a fixed lease; then the lease is that limit + grace.
        The grace covers what happens round the body: the claim's own round trip, the write of the result with its
        retries, and the difference between two machines' clocks.
        """
        hard = hard_limit or self.longest_hard_limit(queue)
        fixed = self.queue(queue).lease_seconds
        return fixed if fixed is not None and fixed > hard else hard + self.lease_grace_seconds

    def age_alarm_seconds(self, queue: str) -> int:
        """Age of the oldest message at which a queue is late, seconds: SLA + longest hard limit.

        SQS counts a message's age until it is deleted; with a prefetch it may wait one hard limit inside a worker.
        """
        return math.ceil(self.queue(queue).sla_seconds) + self.longest_hard_limit(queue)

    def redispatch_delay(self, queue: str, dispatches: int = 1) -> float:
        """Seconds that a due job may stay unclaimed before its message is taken for lost and sent again.

        ``max(redispatch_min_seconds, 2 x sla_seconds) x 2 ** (dispatches - 1)``, at most 12 h: a repeated dispatch
        waits longer each time, so that a queue with a backlog is not flooded with copies.
        """
        first = max(float(self.redispatch_min_seconds), 2 * self.queue(queue).sla_seconds)
        return float(min(first * 2 ** min(dispatches - 1, 20), SQS_MAX_VISIBILITY))


def dead_letters_of(queue: str) -> str:
    """Give the dead-letter queue of an SQS queue: its name from the queue's name, its URL from the queue's URL."""
    return queue.rstrip("/") + DEAD_LETTER_SUFFIX


def _without_secrets(error: ValidationError) -> ValidationError:
    """Hide what was given for a secret field, and for all of them at once, as a check of the whole is given it."""
    rows = [
        InitErrorDetails(
            type=row["type"],
            loc=row["loc"],
            input=row["input"] if row["loc"] and row["loc"][0] not in SECRET_FIELDS else HIDDEN,
            ctx=row.get("ctx", {}),
        )
        for row in error.errors()
    ]
    return ValidationError.from_exception_data(error.title, rows)


def _check_limits(owner: str, soft: int, hard: int) -> None:
    if soft >= hard:
        raise ValueError(
            f"{owner}: soft_limit={soft} must be below hard_limit={hard}, else the task is killed before it can clean "
            "up; lower soft_limit or raise hard_limit"
        )


def _refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    names = list(known)
    for key in given:
        if key not in names:
            raise ValueError(
                f"unknown field {key!r} in {where}{_did_you_mean(key, names)}; see the fields in settings.py"
            )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _not_among(name: str, known: Iterable[str]) -> str:
    return f"is not among the queues {list(known)}{_did_you_mean(name, known)}; add a QueueSpec or correct the name"


QUEUE_PRESETS: Final[Mapping[str, tuple[QueueSpec, ...]]] = {
    # kinds of work side by side, each with workers of its own
    "documents": (
        QueueSpec(name="documents", priority=5, sla_seconds=60, soft_limit=840, hard_limit=900),
        QueueSpec(name="websites", priority=5, sla_seconds=60, soft_limit=540, hard_limit=600),
        QueueSpec(name="notifications", priority=8, sla_seconds=5, soft_limit=50, hard_limit=60),
    ),
    # few long jobs on big machines beside many short ones
    "service": (
        QueueSpec(name="ai", priority=5, sla_seconds=30, soft_limit=1680, hard_limit=1800, concurrency=4),
        QueueSpec(name="data", priority=4, sla_seconds=120, soft_limit=1680, hard_limit=1800, concurrency=2),
        QueueSpec(name="notifications", priority=8, sla_seconds=5, soft_limit=50, hard_limit=60, concurrency=8),
    ),
    # priorities, each with the wait that is promised
    "priority": (
        QueueSpec(name="critical", priority=10, sla_seconds=2, soft_limit=280, hard_limit=300),
        QueueSpec(name="high_priority", priority=8, sla_seconds=3, soft_limit=280, hard_limit=300),
        QueueSpec(name="email", priority=7, sla_seconds=5, soft_limit=100, hard_limit=120),
        QueueSpec(name="reports", priority=6, sla_seconds=60, soft_limit=1680, hard_limit=1800),
        QueueSpec(name="external_api", priority=5, sla_seconds=10, soft_limit=540, hard_limit=600),
        QueueSpec(name="maintenance", priority=3, sla_seconds=300, soft_limit=3480, hard_limit=3600),
    ),
}
"""Sets of queues to start from: ``Settings(queue_preset="priority")``, or put them into ``queues`` with others."""

DEAD_LETTER_RULES: Final[Mapping[str, DeadLetterRule]] = {
    "TRANSIENT": DeadLetterRule(retries=5, after_seconds=300, factor=4),
    "EXTERNAL": DeadLetterRule(retries=3, after_seconds=3600, factor=3),
    "CONFIGURATION": DeadLetterRule(retries=1, after_seconds=7200),
}
"""5 min to 21 h, 1 h to 9 h, 2 h; every other kind waits for a person at once."""
