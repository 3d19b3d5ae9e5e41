"""What handlers of Celery's signals, Sentry and OpenTelemetry get of jobs: as docs/celery.md says, on a real worker."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobclaim.workers import create_app
from tests.support import warm
from tests.support.endpoints import Endpoint
from tests.support.stack import ROOT, Stack, deployed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.real
SEEN = "SEEN_BY_HANDLERS"
ENDED = "task_postrun"


@dataclass
class Seen:
    """What was told, by the name of the submission."""

    lines: list[dict[str, Any]]
    log: str
    nodes: list[str]

    def of(self, name: str, *what: str) -> list[dict[str, Any]]:
        """Give the lines of one submission, in order."""
        return [line for line in self.lines if line["of"] == name and (not what or line["what"] in what)]

    def signals(self, name: str) -> Counter[str]:
        """Count its signals; those of a worker's main process are marked so."""
        return Counter(
            f"{'main' if line['process'] == 'MainProcess' else 'child'} {line['what']}"
            for line in self.of(name)
            if line["what"].startswith("task_")
        )


@pytest.fixture(scope="module")
def seen(dynamodb_local: Endpoint, elasticmq: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Everything that one worker and one program that submits told of one run of each task."""
    folder = tmp_path_factory.mktemp("instrumented")
    file = folder / "seen.jsonl"
    modules = ("tests.support.instrumented_tasks",)
    with deployed(dynamodb_local, elasticmq, folder, task_modules=modules, run_dir=str(folder)) as stack:
        stack.environment[SEEN] = str(file)
        useless = ("-E", "--prefetch-multiplier", "8", "--statedb", str(folder / "state"))
        honoured = ("-n", "celery@seen", "--pidfile", str(folder / "pid"), "--max-memory-per-child", "9000000")
        accepted = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--disable-prefetch")
        options = (*useless, *honoured, *accepted, "--heartbeat-interval", "5", "-X", "recovery")
        worker = stack.worker("instrumented", "-c", "4", *options)
        assert int((folder / "pid").read_text()) == worker.pid
        ids = _submit(stack)
        jobs = ids["jobs"]
        wait_until(lambda: _lines(file, jobs, "waits", "body"), 60, "the body that waits runs")
        nodes = list(create_app(stack.settings).control.inspect().ping() or ())
        create_app(stack.settings).control.revoke(jobs["waits"])
        known = stack.repo.table
        wait_until(
            lambda: not any(job.status.is_open for job in known.get_many(list(jobs.values())).values()),
            60,
            lambda: f"all end: {known.get_many(list(jobs.values()))}",
        )
        names = {**jobs, **ids["others"]}
        wait_until(lambda: _all_told(file, names), 30, "what follows the ends is told")
        return Seen(_lines(file, names), worker.log(), nodes)


UNSEEN = ("cancelled", "unknown", "by hand", "by hand, silently")
LAST = [("waits", "task_revoked"), ("unknown", "task_unknown"), ("killed", "task_failure"), ("hard", "task_failure")]
FAILING = ("fails", "soft", "hard", "killed", "never", "policy", "exhausted", "plain, fails")
FOLLOWS = {("second_time", "sentry transaction"): 2, **{(name, "sentry event"): 1 for name in FAILING}}
"""Comes after the signal that an attempt has ended."""
SPANS = {"ok": 1, "fails": 1, "never": 2, "second_time": 2}


def _all_told(file: Path, names: dict[str, str]) -> bool:
    """Whether each attempt that began in a child has ended there, or in the main process, or was cancelled before, and
    Sentry and OpenTelemetry have told what they tell last.
    """
    told = {(name, what): len(_lines(file, names, name, what)) for name in names for what in ("task_prerun", ENDED)}
    ended = [told[name, "task_prerun"] == told[name, ENDED] for name in names if name not in dict(LAST)]
    runs = all(told[name, "task_prerun"] for name in names if name not in UNSEEN)
    follows = all(len(_lines(file, names, *each)) >= count for each, count in FOLLOWS.items())
    spans = Counter(line["of"] for line in _lines(file, names, what="otel span") if line["name"].startswith("run/"))
    by_hand = [line for line in _lines(file, names, what="sentry event") if "seen.by_hand" in json.dumps(line)]
    told_last = follows and all(spans[name] >= count for name, count in SPANS.items()) and len(by_hand) >= 2
    return runs and all(ended) and told_last and all(_lines(file, names, *each) for each in LAST)


def _submit(stack: Stack) -> dict[str, dict[str, str]]:
    run = warm.run([sys.executable, "-m", "tests.support.instrumented_submitter"], env=stack.environment, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    answer: dict[str, dict[str, str]] = json.loads(run.stdout)
    return answer


def _lines(file: Path, names: dict[str, str], of: str = "", what: str = "") -> list[dict[str, Any]]:
    by_id = {task_id: name for name, task_id in names.items()}
    told = [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
    told = [{**line, "of": by_id.get(line.get("task_id"))} for line in told]
    return [line for line in told if of in ("", line["of"]) and what in ("", line["what"])]


RUN = {"main task_received": 1, "child task_prerun": 1, "child task_postrun": 1}
TWICE = dict.fromkeys(RUN, 2)


@pytest.mark.parametrize(
    ("name", "signals"),
    [
        pytest.param("ok", {**RUN, "child task_success": 1}, id="success"),
        pytest.param("fails", {**RUN, "child task_failure": 1}, id="failure"),
        pytest.param("soft", {**RUN, "child task_failure": 1}, id="soft limit"),
        pytest.param("throws", {**RUN, "child task_failure": 1}, id="an exception of throws"),
        pytest.param("exhausted", {**RUN, "child task_failure": 1}, id="no retry left"),
        pytest.param("second_time", {**TWICE, "child task_retry": 1, "child task_success": 1}, id="retry by hand"),
        pytest.param("never", {**TWICE, "child task_retry": 1, "child task_failure": 1}, id="autoretry"),
        pytest.param("policy", {**TWICE, "child task_retry": 1, "child task_failure": 1}, id="retry policy"),
        pytest.param("plain", {**RUN, "child task_success": 1}, id="a plain task"),
        pytest.param("plain, fails", {**RUN, "child task_failure": 1}, id="a plain task fails"),
        pytest.param("cancelled", {}, id="cancelled before it started"),
        pytest.param("unknown", {"main task_unknown": 1}, id="not registered"),
    ],
)
def test_each_signal_is_sent_once_an_attempt(seen: Seen, name: str, signals: dict[str, int]) -> None:
    assert seen.signals(name) == signals


@pytest.mark.parametrize(("name", "signal"), [("killed", "failure"), ("hard", "failure"), ("waits", "revoked")])
def test_the_end_that_no_child_can_tell_is_told_by_the_main_process(seen: Seen, name: str, signal: str) -> None:
    told = seen.signals(name)
    assert told[f"main task_{signal}"] == told["main task_received"] == told["child task_prerun"] == 1
    assert not told["child task_success"]
    assert not told["child task_failure"]


def test_handlers_see_the_id_before_the_claim_and_the_arguments_after_it(seen: Seen) -> None:
    [publish] = seen.of("ok", "before_task_publish")
    [prerun] = seen.of("ok", "task_prerun")
    [postrun] = seen.of("ok", "task_postrun")
    [failure] = seen.of("fails", "task_failure")
    [success] = seen.of("ok", "task_success")
    job_id = publish["task_id"]
    assert (publish["args"], prerun["args"], prerun["kwargs"]) == ([job_id], [job_id], {})
    assert (postrun["args"], postrun["kwargs"], postrun["state"]) == ([21], {"secret": "s"}, "SUCCESS")
    assert (failure["args"], failure["exception"], success["result"]) == (["acme"], "LookupError", 42)
    assert [line["exception"] for line in (*seen.of("killed", "task_failure"), *seen.of("hard", "task_failure"))] == [
        "WorkerLostError",
        "TimeLimitExceeded",
    ]


def test_a_header_that_a_publish_handler_adds_reaches_the_body(seen: Seen) -> None:
    [before], [after] = seen.of("ok", "before_task_publish"), seen.of("ok", "after_task_publish")
    assert (before["task"], before["queue"], before["retries"]) == ("seen.ok", "default", 0)
    assert after["kept"] == "acme"
    assert [line["tenant"] for line in seen.of("ok", "body")] == ["acme"]
    assert [line["retries"] for line in seen.of("policy", "before_task_publish")] == [0, 1]


@pytest.mark.parametrize(
    ("name", "exception"),
    [
        ("fails", "LookupError"),
        ("soft", "SoftTimeLimitExceeded"),
        ("hard", "TimeLimitExceeded"),
        ("killed", "WorkerLostError"),
        ("never", "ConnectionError"),
        ("policy", "ConnectionError"),
        ("exhausted", "MaxRetriesExceededError"),
        ("plain, fails", "LookupError"),
    ],
)
def test_sentry_gets_one_event_of_a_failure_with_its_exception(seen: Seen, name: str, exception: str) -> None:
    [event] = seen.of(name, "sentry event")
    assert event["exceptions"] == [exception]


@pytest.mark.parametrize("name", ["ok", "second_time", "throws", "waits", "cancelled", "plain"])
def test_sentry_gets_no_event_of_a_retry_a_cancel_or_what_is_declared(seen: Seen, name: str) -> None:
    assert seen.of(name, "sentry event") == []


def test_sentry_gets_one_event_of_a_failure_recorded_by_hand(seen: Seen) -> None:
    events = [line for line in seen.lines if line["what"] == "sentry event" and "seen.by_hand" in json.dumps(line)]
    assert [line["exceptions"] for line in events] == [["LookupError"], ["LookupError"]]


def test_sentry_groups_what_no_code_raised_by_task_and_exception_and_our_lines_by_their_code(seen: Seen) -> None:
    [killed] = seen.of("killed", "sentry event")
    assert killed["fingerprint"] == ["jobclaim", "seen.killed", "billiard.exceptions.WorkerLostError"]
    assert killed["extra"]["job_id"] == killed["task_id"]
    lines = [line for line in seen.lines if line["what"] == "sentry event" and line["logger"] == "jobclaim.poison"]
    assert [line["fingerprint"] for line in lines] == [["jobclaim", "jobclaim.poison", "poison.moved"]]
    assert "seen.unknown" in lines[0]["extra"]["reason"]


def test_sentry_continues_the_trace_of_whoever_submitted(seen: Seen) -> None:
    first, second = seen.of("second_time", "sentry transaction")
    assert first["trace_id"] == second["trace_id"]


def test_opentelemetry_has_each_attempt_under_the_span_that_sent_its_message(seen: Seen) -> None:
    spans = {line["span_id"]: line for line in seen.lines if line["what"] == "otel span"}
    for name, task in (("ok", "seen.ok"), ("never", "seen.never"), ("second_time", "seen.second_time")):
        runs = [line for line in seen.of(name, "otel span") if line["name"] == f"run/{task}"]
        parents = [spans[line["parent_id"]] for line in runs]
        assert [line["name"] for line in parents] == [f"apply_async/{task}"] * len(runs)
        assert len({line["trace_id"] for line in runs}) == 1
    [failed] = [line for line in seen.of("fails", "otel span") if line["name"].startswith("run")]
    assert (failed["status"], failed["exceptions"]) == ("ERROR", ["LookupError"])


def test_options_of_the_worker_that_have_no_effect_are_taken_back_with_one_warning(seen: Seen) -> None:
    [line] = [line for line in seen.log.splitlines() if "config.overridden" in line]
    told = {each["key"] for each in json.loads(line)["overridden"]}
    assert told >= {"--task-events", "--statedb", "--prefetch-multiplier"}, "the log is set up when it is written"


def test_options_of_the_worker_count_or_are_accepted_where_they_concern_what_sqs_does_not_carry(seen: Seen) -> None:
    [node] = seen.nodes
    assert node == "celery@seen"
    assert [line["state"] for line in seen.of("ok", ENDED)] == ["SUCCESS"]
