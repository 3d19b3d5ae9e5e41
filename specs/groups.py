"""Groups of workers: which queues share the same workers, and how many workers there are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jobclaim.specs.base import Count, Spec
from jobclaim.specs.quotas import FARGATE_MEMORY


class WorkerGroup(Spec):
    """Workers that consume the same queues: one ECS service in `template.yaml`."""

    queues: tuple[str, ...]
    """Logical names; a queue belongs to one group, and the recovery queue to none: it has its own service."""
    cpu: Literal[256, 512, 1024, 2048, 4096, 8192, 16384] = 1024
    """CPU units of one Fargate task; 1024 are one core."""
    memory: Annotated[int, Field(ge=512, le=122_880)] = 2048
    """MiB of one Fargate task. With too little, the kernel kills children, which leaves orphans."""
    concurrency: Count | None = None
    """Processes of one task; default: the highest number that one of its queues asks for."""
    min_tasks: Annotated[int, Field(ge=0)] = 1
    """Minimum number of tasks; with 0 the first job of an idle queue waits for a task to start."""
    max_tasks: Count = 10
    """Maximum number of tasks, which bounds the cost of a flood of jobs."""
    spot: bool = True
    """Whether the parameter ``SpotWeight`` may run tasks of this group on interruptible capacity."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> WorkerGroup:
        if self.min_tasks > self.max_tasks:
            raise ValueError(
                f"worker group: min_tasks={self.min_tasks} is above max_tasks={self.max_tasks}; raise max_tasks"
            )
        if not self.queues:
            raise ValueError("worker group: queues is empty, so its workers would have no work; name a queue")
        least, most = FARGATE_MEMORY[self.cpu]
        if not least <= self.memory <= most or self.memory % (1024 if self.memory >= 1024 else 512):
            raise ValueError(
                f"worker group: Fargate does not offer cpu={self.cpu} with memory={self.memory} MiB; give {least} to "
                f"{most} in whole GiB"
            )
        return self
