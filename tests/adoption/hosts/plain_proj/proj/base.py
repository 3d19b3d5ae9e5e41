"""The project's own kind of task."""

from celery import Task

from proj.notes import write


class Audited(Task):
    """A task whose ends are noted."""

    abstract = True

    def on_success(self, retval, task_id, args, kwargs):
        """Note a success."""
        write(f"{self.name} succeeded: {retval}")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        """Note a failure."""
        write(f"{self.name} failed: {exc}")
