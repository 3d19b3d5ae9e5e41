"""Many processes that make the same call at the same moment: ``python -m tests.support.submitters TASK ARGS``.

Each line of the input is one moment, epoch seconds, at which all of them submit; each line of the output is a list of
``[job id, result]``, one for each submission.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PROCESSES = 8
THREADS = 8
SUBMISSIONS = PROCESSES * THREADS
RESULT_SECONDS = 60


def _submit(task_name: str, args: list[Any], at: float) -> list[Any]:
    from jobclaim.workers.apps import default_app

    app = default_app()

    time.sleep(max(0.0, at - time.time()))
    try:
        result = app.tasks[task_name].apply_async(args)
        return [result.id, result.get(timeout=RESULT_SECONDS, interval=0.1)]
    except Exception as error:  # noqa: BLE001 - whoever started us reads it as a wrong result
        return ["none", repr(error)]


def _process(task_name: str, args: list[Any], inbox: Any, outbox: Any) -> None:
    from jobclaim.workers.apps import default_app

    app = default_app()

    app.jobclaim.repo.table.get("warm")  # the making of a client is no part of the race
    outbox.put("ready")
    for first, spread in iter(inbox.get, None):
        with ThreadPoolExecutor(THREADS) as pool:
            moments = [first + spread * n / THREADS for n in range(THREADS)]
            outbox.put(list(pool.map(lambda at: _submit(task_name, args, at), moments)))


def main() -> None:
    """Fork the processes, then answer line by line."""
    task_name, args = sys.argv[1], json.loads(sys.argv[2])
    from jobclaim.workers.apps import default_app  # imported once, before the fork

    app = default_app()
    from jobclaim.workers.telemetry import logs

    logs.configure(app.jobclaim.settings)  # to standard error: our output is for the test
    app.loader.import_default_modules()
    context = multiprocessing.get_context("fork")
    inboxes: list[Any] = [context.SimpleQueue() for _ in range(PROCESSES)]
    outbox = context.Queue()
    processes = [context.Process(target=_process, args=(task_name, args, inbox, outbox)) for inbox in inboxes]
    for process in processes:
        process.daemon = True
        process.start()
    for _ in processes:
        outbox.get()
    _say("ready")
    for line in sys.stdin:
        first, spread = json.loads(line)
        for number, inbox in enumerate(inboxes):
            inbox.put((first + spread * number / PROCESSES / THREADS, spread))
        _say([row for _ in processes for row in outbox.get()])
    for inbox in inboxes:
        inbox.put(None)
    for process in processes:
        process.join()


def _say(value: Any) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
