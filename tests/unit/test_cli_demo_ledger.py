"""The demo's evidence, read from files and queues."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from jobclaim.cli.demo.ledger import Body, events, messages_in, read_bodies, read_refusals
from jobclaim.cli.demo.story import _addressed


def test_bodies_are_read_from_their_signatures(tmp_path: Path) -> None:
    file = tmp_path / "bodies.txt"
    file.write_text("a 1 42 host.example:41:ffff\na 2 52 host:51:eeee\n")
    assert read_bodies(file) == (Body("a", 1, 42, "host.example:41:ffff"), Body("a", 2, 52, "host:51:eeee"))
    assert [body.worker_pid for body in read_bodies(file)] == [41, 51]


def test_no_signature_means_no_body(tmp_path: Path) -> None:
    assert read_bodies(tmp_path / "bodies.txt") == ()


def test_a_torn_signature_is_an_error_and_not_overlooked(tmp_path: Path) -> None:
    file = tmp_path / "bodies.txt"
    file.write_text("a 1\n")
    with pytest.raises(ValueError, match="unpack"):
        read_bodies(file)


def test_refusals_are_counted_by_job_over_all_logs(tmp_path: Path) -> None:
    first, second = tmp_path / "worker-1.log", tmp_path / "worker-2.log"
    refusal = {"event": "claim.refused", "job_id": "a"}
    first.write_text(
        "a banner {\n" + json.dumps(refusal) + "\n" + json.dumps({"event": "claim.acquired", "job_id": "a"}) + "\n"
    )
    second.write_text(json.dumps(refusal) + "\n" + json.dumps({**refusal, "job_id": "b"}) + '\n{"event": "already cl')
    assert read_refusals([first, second, tmp_path / "missing.log"]) == {"a": 2, "b": 1}


def test_lines_that_are_no_json_objects_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text('[1]\n{"event": 1}\n\n{broken\n')
    assert list(events([log])) == [{"event": 1}]


def test_messages_are_counted_in_every_state() -> None:
    class Sqs:
        def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
            return {
                "Attributes": {
                    "ApproximateNumberOfMessages": "1",
                    "ApproximateNumberOfMessagesNotVisible": "2",
                    "ApproximateNumberOfMessagesDelayed": "4",
                }
            }

    assert messages_in(Sqs(), {"default": "http://queue"}) == {"default": 7}


@pytest.mark.parametrize("wrap", [lambda text: base64.b64encode(text.encode()).decode(), lambda text: text])
def test_a_message_is_matched_to_its_job_in_base64_and_in_plain_text(wrap: Any) -> None:
    assert "job-7" in _addressed(wrap('{"headers": {"id": "job-7"}}'))
