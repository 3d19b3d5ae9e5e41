"""The benchmark's report says what was measured, and README and picture are what its results give."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace
from typing import Any, ClassVar
from xml.etree import ElementTree

import pytest

from bench import picture, readme
from bench.peers import figures, report
from bench.peers.__main__ import _as_result
from bench.peers.brokers import OnServer, OnStub
from bench.peers.catalog import APPS, BY_KEY, HERE, OURS, PEERS, queue_of
from bench.peers.faults import Verdict, crash_verdict, equal_verdict


def measured(**changes: Any) -> dict[str, Any]:
    """One round of one peer."""
    return {
        "per_second": 400.0,
        "per_second_with_latency": 300.0,
        "requests": {"SendMessage": 1.0, "DeleteMessageBatch": 0.1, "PutItem jobclaim-jobs": 1.0},
        "units": {"jobclaim-jobs write table": 3.0, "jobclaim-jobs write index": 2.0, "jobclaim-fleet read table": 0.5},
        "write_units": 5.0,
        "read_units": 0.5,
        "submit_ms": 1.0,
        "submit_cpu_ms": 1.0,
        "worker_cpu_ms": 2.0,
        "worker_cpu_ms_with_latency": 2.5,
        **changes,
    }


def peer(title: str, rounds: list[dict[str, Any]], *passed: bool) -> dict[str, Any]:
    """One peer of a result."""
    faults = {name: {"passed": ok, "what": "w", "seen": {}} for name, ok in zip(figures.FAULTS, passed, strict=False)}
    return {
        "title": title,
        "note": "",
        "beside": "",
        "broker": "sqs",
        "behaves_as": None,
        "rounds": rounds,
        "faults": faults,
    }


@pytest.fixture
def result() -> dict[str, Any]:
    """Ours and a plain one, two rounds each."""
    slow = measured(
        per_second_with_latency=30.0,
        write_units=0.0,
        read_units=0.0,
        units={},
        submit_cpu_ms=2.0,
        worker_cpu_ms=4.0,
        worker_cpu_ms_with_latency=4.0,
    )
    latency = {"sqs": 10.0, "dynamodb": 5.0}
    about = {"date": "2026-01-01", "jobs": 600, "rounds": 2, "processes": 8, "latency_ms": latency, "python": "3.11"}
    return {
        "about": {**about, "cores": 2, "load_before": 0.1, "seconds": 1},
        "peers": {
            OURS: peer("**jobclaim**", [measured(), measured(per_second=500.0)], True, True, True),
            "celery": peer("Celery", [slow, slow], False, False, False),
        },
    }


class TestFigures:
    def test_dollars_are_requests_to_sqs_and_units_at_list_prices(self) -> None:
        assert figures.dollars(measured()) == pytest.approx(1.1 * 0.40 + 5 * 0.625 + 0.5 * 0.125)

    def test_a_row_holds_medians(self, result: dict[str, Any]) -> None:
        numbers = figures.rows(result)[0].numbers
        assert numbers is not None
        assert numbers["per_second"] == 450
        assert numbers["requests"] == pytest.approx(2.1)

    def test_the_cents_add_up_to_the_price(self, result: dict[str, Any]) -> None:
        shares = figures.cents(result)
        assert sum(share.dollars for share in shares) == pytest.approx(figures.dollars(measured()), abs=0.001)
        assert shares[0].what == "DynamoDB jobclaim-jobs"

    def test_aims_are_met_or_not(self, result: dict[str, Any]) -> None:
        met = {aim.what: aim.met for aim in figures.aims(result)}
        assert all(met.values())
        worse = copy.deepcopy(result)
        for one in worse["peers"][OURS]["rounds"]:
            one.update(per_second_with_latency=20.0, submit_cpu_ms=2.5, write_units=8.0)
            one.update(per_second_slow_line=10.0, child_mb=90.0)
        worse["about"]["slow_line_ms"] = {"sqs": 200.0, "dynamodb": 100.0}
        worse["peers"]["celery"]["faults"] = worse["peers"][OURS]["faults"]
        missed = {aim.what for aim in figures.aims(worse) if not aim.met}
        assert missed == {
            "no peer does",
            "write units per job, 5 when completed jobs are not listed",
            "dollars per million jobs, completed jobs not listed ≤ 4",
            "jobs/s with latency at least 8 times plain Celery's",
            "submit CPU per job at most 0.7 times plain Celery's",
            "jobs/s with latency: first of all on SQS",
            "jobs/s over the slow line at least 80% of what two requests a job allow",
            "resident memory of a process ≤ 60 MB",
        }

    def test_ratios_show_their_spread_and_those_to_other_rows(self, result: dict[str, Any]) -> None:
        result["peers"][OURS]["rounds"][1]["worker_cpu_ms"] = 3.0
        tuned = measured(worker_cpu_ms=2.0)
        result["peers"]["celery-tuned"] = peer("Celery, tuned", [tuned, tuned])
        result["peers"]["jobclaim-tls"] = peer("TLS", [measured(child_mb=64.0)])
        for one in result["peers"][OURS]["rounds"]:
            one["child_mb"] = 59.0
        shown = {aim.what: aim.measured for aim in figures.aims(result)}
        ours = shown["worker CPU per job at most 0.8 times plain Celery's"]
        assert ours == "0.62 times (0.50 to 0.75); Celery, tuned: 1.25"
        assert shown["resident memory of a process ≤ 60 MB"] == "59 MB after 1,200 jobs; over TLS: 64 MB"

    def test_a_peer_that_did_not_run_has_a_row_without_numbers(self, result: dict[str, Any]) -> None:
        result["peers"]["celery"]["rounds"] = []
        assert figures.rows(result)[1].numbers is None
        assert "Celery" not in report.numbers_table(result, figures.rows(result), report.COST)
        assert report.markdown(result)

    def test_a_peer_that_was_measured_less_often_is_named(self, result: dict[str, Any]) -> None:
        assert "Rounds of others" not in report.setting(result)
        result["peers"]["celery"]["rounds"].pop()
        assert report.setting(result).endswith(" Rounds of others: Celery 1.")


class TestVerdicts:
    @pytest.mark.parametrize(
        ("seen", "in_the_end", "passed", "what"),
        [
            ({"start": 2, "end": 1}, 2, True, "runs again"),
            ({"start": 1}, 2, False, "lost"),
            ({"start": 1}, 1, False, "lost, and an equal call does not run"),
        ],
    )
    def test_a_crash_is_survived_by_the_work_being_done(
        self, seen: dict[str, Any], in_the_end: int, passed: bool, what: str
    ) -> None:
        verdict = crash_verdict(seen, in_the_end)
        assert (verdict.passed, verdict.what) == (passed, what)

    @pytest.mark.parametrize(
        ("together", "starts", "last", "passed", "what"),
        [
            (2, 3, "handle", False, "both run"),
            (2, 2, "handle, SUCCESS, done", False, "both run"),
            (1, 2, "handle", True, "one run; a later call runs again"),
            (1, 1, "handle, SUCCESS, done", True, "one run; a later call gets its result"),
            (1, 1, "handle", True, "one run; a later call is dropped"),
        ],
    )
    def test_equal_calls_are_one_run(self, together: int, starts: int, last: str, passed: bool, what: str) -> None:
        verdict = equal_verdict(together, {"start": starts, "callers": ["handle", "handle", last]})
        assert (verdict.passed, verdict.what) == (passed, what)

    def test_bodies_that_start_after_they_were_counted_are_no_verdict(self) -> None:
        with pytest.raises(ValueError, match="counted too early"):
            equal_verdict(1, {"start": 3, "callers": ["handle", "handle", "handle"]})


class TestResult:
    KNOWN: ClassVar[dict[str, Any]] = {"celery": peer("Celery", [measured()], True, True, True)}

    def test_what_was_not_to_be_measured_is_kept(self) -> None:
        made = _as_result(BY_KEY["celery-tuned"], {}, {}, self.KNOWN)
        assert (made["rounds"], made["faults"]) == ([], self.KNOWN["celery"]["faults"])
        assert _as_result(BY_KEY["celery"], {}, {}, self.KNOWN)["rounds"] == [measured()]

    def test_what_was_measured_and_failed_is_not_shown_with_the_figures_of_an_earlier_run(self) -> None:
        made = _as_result(BY_KEY["celery"], {"celery": []}, {"celery": {}}, self.KNOWN)
        assert (made["rounds"], made["faults"]) == ([], {})

    def test_a_verdict_counts_for_all_that_behave_the_same(self) -> None:
        made = _as_result(BY_KEY["celery-tuned"], {}, {"celery": {"equal": Verdict(False, "both run", {})}}, self.KNOWN)
        assert made["faults"]["equal"]["what"] == "both run"


class TestCatalog:
    def test_each_peer_has_its_program_and_its_requirements(self) -> None:
        for one in PEERS:
            assert (APPS / f"{one.module}.py").exists()
            assert (HERE / "requirements" / f"{one.venv}.txt").exists()

    def test_peers_do_not_share_a_queue_or_a_table(self) -> None:
        others = [one for one in PEERS if not one.is_ours]
        assert len({queue_of(one)[1] for one in others}) == len(others)
        tables = [one.table for one in others if one.table]
        assert len(set(tables)) == len(tables)


class TestStub:
    def test_a_redis_beside_sqs_is_as_far_away_as_one_instead_of_it(self) -> None:
        delays: list[float] = []
        line: Any = SimpleNamespace(port=7, delay=delays.append)
        stub: Any = SimpleNamespace(url="http://stub", control=lambda **_: {"now": 1.0})
        broker = OnStub(stub, line)

        broker.reset(hold=True)
        broker.release({"sqs": 10.0, "dynamodb": 5.0, "server": 1.0})

        assert broker.redis == "redis://127.0.0.1:7/0"
        assert delays == [0.0, 1.0]
        assert OnStub(stub).redis == ""


class TestServer:
    def test_jobs_are_held_back_by_stopping_the_worker_and_ended_when_none_is_left(self) -> None:
        done: list[Any] = []
        worker: Any = SimpleNamespace(pause=lambda: done.append("pause"), resume=lambda: done.append("resume"))
        line: Any = SimpleNamespace(delay=done.append)
        left = [2, 0]
        broker = OnServer("redis://", line, lambda: left.pop(0))

        broker.reset(hold=True, worker=worker)
        released = broker.release({"server": 1.0})

        assert done == [0, "pause", 1.0, "resume"]
        assert broker.meter(PEERS[0], 1) is None
        ended = broker.meter(PEERS[0], 1)
        assert ended is not None
        assert ended["last"] >= released

    def test_rows_of_servers_have_no_price_per_request(self, result: dict[str, Any]) -> None:
        result["peers"]["celery"].update(broker="redis", beside="Redis", title="Celery on Redis")

        table = report.numbers_table(result, figures.rows(result), report.COST)

        assert "| Celery on Redis |  |  | Redis |  | 400 |" in table


class TestPicture:
    def test_it_is_an_svg_with_a_row_per_peer_for_light_and_dark_pages(self, result: dict[str, Any]) -> None:
        drawn = picture.draw(result)
        root = ElementTree.fromstring(drawn)  # noqa: S314 - our own
        assert root.tag.endswith("svg")
        texts = [element.text for element in root.iter() if element.tag.endswith("text")]
        assert {"jobclaim", "Celery"} <= set(texts)
        assert drawn.count('class="yes"') == drawn.count('class="no"') == 3
        assert "prefers-color-scheme: dark" in drawn

    def test_the_longest_bar_is_the_largest_figure(self, result: dict[str, Any]) -> None:
        drawn = picture.draw(result)
        assert f'width="{picture.SPEED_WIDTH}" height="14"' in drawn
        assert f'width="{round(picture.SPEED_WIDTH * 30 / 300)}" height="14"' in drawn


class TestReadme:
    def test_the_section_is_written_between_its_markers_and_nowhere_else(self, result: dict[str, Any]) -> None:
        text = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n"
        made = readme.written(text, result)
        assert made.startswith(f"before\n{readme.BEGIN}\n")
        assert made.endswith(f"{readme.END}\nafter\n")
        assert "old" not in made
        assert "**Faults**" in made
        assert "300 jobs/s at 10/5 ms (SQS/DynamoDB) with 8 processes on 2 cores; Celery: 30." in made
        assert readme.written(made, result) == made

    def test_a_readme_without_markers_is_refused(self, result: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="lacks the lines"):
            readme.written("nothing", result)

    def test_readme_report_and_picture_are_what_the_results_give(self) -> None:
        result = json.loads(readme.RESULT.read_text())
        text = readme.README.read_text()
        assert readme.written(text, result) == text, "run python -m bench.readme"
        assert picture.draw(result) == readme.PICTURE.read_text(), "run python -m bench.readme"
        assert report.markdown(result) == readme.RESULT.with_suffix(".md").read_text(), "run python -m bench.readme"
