"""A program of an instrumented host that submits every task of `tests.support.instrumented_tasks`; prints their ids."""

from __future__ import annotations

import json

from jobclaim.workers.apps import default_app
from tests.support import instrumented_tasks as tasks


def main() -> None:
    """Submit each."""
    app = default_app()
    tasks.instrument()
    jobs = {
        name: getattr(tasks, name).delay().id
        for name in ("killed", "hard", "soft", "waits", "second_time", "never", "policy", "throws", "exhausted")
    }
    jobs["ok"] = tasks.ok.delay(21, secret="s").id
    jobs["fails"] = tasks.fails.delay("acme").id
    jobs["cancelled"] = tasks.ok.apply_async((1,), countdown=600).id
    app.control.revoke(jobs["cancelled"])
    for silently in (True, False):
        job = app.jobclaim.repo.create_job("seen.by_hand", {"args": [], "kwargs": {}})
        tasks.by_hand.delay(job.job_id, silently=silently)
        jobs["by hand, silently" if silently else "by hand"] = job.job_id
    others = {
        "plain": tasks.plain.delay(fail=False).id,
        "plain, fails": tasks.plain.delay(fail=True).id,
        "unknown": app.send_task("seen.unknown", queue="default").id,
    }
    print(json.dumps({"jobs": jobs, "others": others}))  # noqa: T201 - that is its answer


if __name__ == "__main__":
    main()
