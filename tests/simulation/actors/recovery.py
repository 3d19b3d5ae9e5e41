"""Recovery: a pass every so often."""

from __future__ import annotations

from jobclaim.jobs import Job
from jobclaim.recovery import sweep
from tests.simulation.actors.stage import Stage
from tests.simulation.line import Process
from tests.simulation.scenario import SWEEP_MS


def recover(stage: Stage, process: Process) -> None:
    """Run a pass every so often."""
    repo = process.repo()

    def send(job: Job, delay: float) -> None:
        stage.queue_of(job).send(job.job_id, job.attempt, delay)

    while True:
        process.pause(process.random.randint(SWEEP_MS // 3, SWEEP_MS))
        calm, began = process.shared.world.calm, process.shared.world.now
        report = sweep(repo, send=send, backlog=lambda queue: stage.queues[queue].backlog())
        stage.calm_sweeps += calm
        if calm:
            stage.oracle.after_calm_pass(process.shared.database.items(process.shared.settings.job_table), began)
        if process.shared.world.trace is not None:
            process.note(f"pass: { ({name: count for name, count in report.counts().items() if count}) }")
