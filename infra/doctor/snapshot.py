"""What is deployed, as values: read once, so that every check is a pure function of it and the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jobclaim.specs.finding import Finding


@dataclass(frozen=True, slots=True)
class DeployedTable:
    """A table as DynamoDB describes it.

    Attributes
    ----------
    key, index_key : tuple of str
        Attribute names, hash key first; the index's are empty if it does not exist.
    projection : str
        Projection of the index: KEYS_ONLY, INCLUDE or ALL.
    index_status : str
    ttl : str, optional
        Attribute by which items expire.
    backed_up : bool, optional
        Whether point-in-time recovery is on; ``None`` if that could not be read.
    replicas : tuple of str
        Regions of its replicas, where it is a global table.
    consistency : str
        Consistency of a global table: EVENTUAL or STRONG.
    protected : bool
        Whether it is protected against deletion.
    """

    key: tuple[str, ...]
    index_key: tuple[str, ...] = ()
    projection: str = ""
    index_status: str = ""
    ttl: str | None = None
    backed_up: bool | None = None
    replicas: tuple[str, ...] = ()
    consistency: str = ""
    protected: bool = False


@dataclass(frozen=True, slots=True)
class DeployedQueue:
    """A queue and its dead-letter queue, attributes as SQS spells them; ``None`` if it does not exist."""

    attributes: Mapping[str, str] | None
    dead_letters: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class TaskView:
    """A registered task: its queue, and its time limits in seconds."""

    name: str
    queue: str
    hard_limit: float


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether one action is allowed; ``None`` if unknown."""

    action: str
    resource: str
    allowed: bool | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that was read.

    Attributes
    ----------
    unreachable : mapping
        For each endpoint that did not answer, the reason.
    refused : mapping
        For each table or queue that the tested actor may not read, the reason.
    tables, queues : mapping
        What was read, by name (queues by their logical name); what could not be read is left out.
    skew_seconds : float, optional
        This machine's clock against DynamoDB's; positive is ahead.
    tasks : tuple, optional
        Registered tasks; ``None`` if they were not read.
    task_problems : tuple of str
        Why task modules could not be imported, and which of their tasks a worker would refuse and why.
    registered : frozenset of str
        Names of all registered tasks, claimed or plain, if they were read.
    schedules : mapping of str to str
        Name of the task by schedule of the app's beat.
    permissions : tuple
        The tested actor's permissions.
    unusual : sequence of (str, str)
        Tasks whose last runs differ from their week before, and how.
    aged : sequence of Finding
        The age of what is oldest, by queue, and of dead letters.
    at_rest : str
        What the live workers cost without jobs; empty if there are none, or they were not read.
    pauses : sequence of (str, str)
        What is paused, and by whom, until when and why.
    living : frozenset of str, optional
        Names of the tasks that live workers have registered; ``None`` if there are none, or they are not all known.
    workers : mapping of str to str, optional
        Digest of the settings by live worker, empty if its record has none; ``None`` if they were not read.
    """

    unreachable: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, DeployedTable | None] = field(default_factory=dict)
    queues: Mapping[str, DeployedQueue] = field(default_factory=dict)
    skew_seconds: float | None = None
    tasks: tuple[TaskView, ...] | None = None
    task_problems: tuple[str, ...] = ()
    registered: frozenset[str] = frozenset()
    schedules: Mapping[str, str] = field(default_factory=dict)
    permissions: tuple[Permission, ...] = ()
    workers: Mapping[str, str] | None = None
    living: frozenset[str] | None = None
    unusual: Sequence[tuple[str, str]] = ()
    pauses: Sequence[tuple[str, str]] = ()
    aged: Sequence[Finding] = ()
    at_rest: str = ""
