"""The audit trail's one hook: every act of every face has one entry, with the person and the AWS identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import click
import pytest
from click.testing import CliRunner

from jobclaim.cli.catalog import COMMANDS
from jobclaim.cli.main import command_line
from jobclaim.cli.recorded import READS, UNRECORDED, record_acts, what_of
from jobclaim.cli.session import Session
from jobclaim.fleet import identity
from jobclaim.fleet.acting import Frame, acted, acting, current_act, framed, on_behalf, recorded_elsewhere
from jobclaim.fleet.audit import PARTITION, PREFIX, Audit, AuditEntry, AuditFilter
from jobclaim.jobs import InvalidInput, JobRepo
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.settings import Settings
from tests.unit.dashboard.conftest import Board, board, cloud, make_board
from tests.unit.test_cli_jobs import aws, failed, make_session, run, session

__all__ = ["aws", "board", "cloud", "make_board", "make_session", "session"]  # fixtures

Counts = tuple[str, int | None, int | None]


def counts(repo: JobRepo) -> list[Counts]:
    """Verb, done and refused of each entry, newest first."""
    return [(entry.verb, entry.done, entry.refused) for entry in Audit.of(repo).entries()]


def test_an_act_is_recorded_before_it_begins_and_completed_when_it_ends(board: Board) -> None:
    with acting(board.repo, "pause", what="queue mail", why="the bank is down", by="ada"):
        assert counts(board.repo) == [("pause", None, None)]
    (entry,) = Audit.of(board.repo).entries()
    assert (entry.verb, entry.by, entry.what, entry.why) == ("pause", "ada", "queue mail", "the bank is down")
    assert (entry.done, entry.refused, entry.face) == (1, 0, "python")


def test_an_act_that_raises_is_refused_and_counts_of_several_are_kept(board: Board) -> None:
    with pytest.raises(InvalidInput), acting(board.repo, "purge", by="ada"):
        raise InvalidInput("no such queue")
    board.clock.advance(1)
    with acting(board.repo, "retry", by="ada") as act:
        act.count(done=2)
        act.count(refused=1)
    assert counts(board.repo) == [("retry", 2, 1), ("purge", 0, 1)]


def test_an_act_within_an_act_is_one_entry_of_the_outer_one(board: Board) -> None:
    with acting(board.repo, "purge", by="ada"), acting(board.repo, "cancel", by="ada") as inner:
        inner.count(done=7)
        acted(board.repo, "submit")
    assert counts(board.repo) == [("purge", 7, 0)]


def test_a_frame_records_what_nothing_in_it_recorded(board: Board) -> None:
    def frame() -> AbstractContextManager[Frame]:
        return framed(lambda: board.repo, "new verb", by="ada", face="cli", what="mail", why="as agreed")

    with frame():
        current_act().count(done=3)
    with frame():
        recorded_elsewhere()
    with frame(), acting(board.repo, "own words"):
        pass
    with pytest.raises(InvalidInput), frame():
        raise InvalidInput("nothing was done")
    found = {entry.verb: entry for entry in Audit.of(board.repo).entries()}
    assert sorted(found) == ["new verb", "own words"]
    assert (found["new verb"].done, found["new verb"].what, found["new verb"].why) == (3, "mail", "as agreed")
    assert {(entry.by, entry.face) for entry in found.values()} == {("ada", "cli")}


def test_a_thread_s_work_is_recorded_on_behalf_of_its_person(board: Board) -> None:
    with on_behalf("ada", "dashboard"):
        acted(board.repo, "retry", what="x")
    (entry,) = Audit.of(board.repo).entries()
    assert (entry.by, entry.face, entry.done) == ("ada", "dashboard", 1)


# --- the command line
def leaves(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below one, by its path."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from leaves(below, f"{path} {name}")
    else:
        yield path, command


def test_every_command_reads_is_recorded_or_says_why_not() -> None:
    assert isinstance(command_line, click.Group)
    context = click.Context(command_line)
    paths: dict[str, click.Command] = {}
    for name in COMMANDS:
        found = command_line.get_command(context, name)
        assert found is not None
        paths |= dict(leaves(found, name))
    framed_ones = {path for path, each in paths.items() if getattr(each.callback, "jobclaim_recorded", False)}
    assert framed_ones == set(paths) - READS - set(UNRECORDED)
    assert "dashboard hash-password" not in framed_ones, "it needs no AWS"
    assert {"retry", "cancel", "resume", "submit", "key clear", "prune", "dead retry"} <= framed_ones


def test_retry_cancel_clear_resume_and_submit_by_command_line_are_in_the_trail(session: Session) -> None:
    job, waiting = failed(session), session.repo.create_job("shop.charge", {"args": [1], "kwargs": {}})
    keyed = session.repo.create_job("shop.charge", {"args": ["secret"]}, idempotency_key="k")
    run(session, "retry", job.job_id, "nobody")
    run(session, "cancel", waiting.job_id, "--reason", "sent twice")
    run(session, "key", "clear", "shop.charge", "k")
    run(session, "submit", "shop.charge", "--args", '["secret"]')
    run(session, "resume", job.job_id, "approval", "--payload", '"secret"')
    run(session, "dead", "retry", "--all", "--dry-run")
    run(session, "list", "--status", "PENDING")
    entries = Audit.of(session.repo).entries()
    found = {entry.verb: entry for entry in entries}
    assert set(found) == {"retry", "cancel", "key clear", "submit", "resume"}
    assert len(entries) == len(found)
    assert (found["retry"].done, found["retry"].refused, found["retry"].what) == (1, 1, f"{job.job_id} nobody")
    assert (found["cancel"].done, found["cancel"].why) == (1, "sent twice")
    assert (found["key clear"].done, found["key clear"].what) == (1, f"shop.charge {keyed.job_id}")
    assert (found["resume"].done, found["resume"].refused) == (1, 0)
    assert "secret" not in str(entries)
    assert {entry.face for entry in entries} == {"cli"}
    assert {entry.arn.partition(":sts:")[0] for entry in entries} == {"arn:aws"}, "the identity, as STS tells it"
    assert all(entry.user_id and entry.user_id != "unknown" for entry in entries)


def test_a_new_command_is_recorded_without_doing_anything(session: Session) -> None:
    @click.command()
    @click.argument("name")
    @click.option("--until")
    @click.option("--payload")
    @click.option("--reason", default="")
    def pause(**_: object) -> None:
        """Pause a queue."""

    record_acts(pause, "pause")
    arguments = ["mail", "--until", "noon", "--payload", "secret", "--reason", "bank"]
    done = CliRunner().invoke(pause, arguments, obj=session)
    assert done.exit_code == 0, done.output
    (entry,) = Audit.of(session.repo).entries()
    assert (entry.verb, entry.what, entry.why, entry.done) == ("pause", "mail until=noon payload=(hidden)", "bank", 1)


def test_what_a_command_was_given_shows_no_argument_of_a_job() -> None:
    given = {"job_ids": ("a", "b"), "queue": None, "task": "shop.charge", "kwargs": {"card": "4111"}, "yes": True}
    assert what_of(given) == "a b shop.charge kwargs=(hidden)"


# --- the dashboard
def test_each_form_and_post_has_one_entry_with_its_face(board: Board) -> None:
    browser = board.browser()
    first, second = board.failed(), board.failed()
    assert browser.post("/act", data={"verb": "retry", "id": first.job_id}).status_code == 303
    board.clock.advance(1)
    assert browser.post("/api/v1/act", data={"verb": "abandon", "id": second.job_id}).status_code == 200
    board.clock.advance(1)
    assert browser.post("/dead/operation/stop", data={"key": "k"}).status_code == 303
    found = [(entry.verb, entry.face, entry.by) for entry in Audit.of(board.repo).entries()]
    assert found == [("operation stop", "dashboard", "ada"), ("abandon", "api", "ada"), ("retry", "dashboard", "ada")]


# --- identity
def test_the_identity_is_asked_once_and_its_absence_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Sts:
        def get_caller_identity(self) -> dict[str, str]:
            asked.append("once")
            if len(asked) > 1:
                raise OSError("no route")
            return {"Arn": "arn:aws:sts::1:assumed-role/ops/ada", "UserId": "AROA1:ada"}

    monkeypatch.setattr(identity, "_client", lambda _: Sts())
    here = Settings(endpoint_url="http://127.0.0.1:1")
    assert (
        identity.caller(here)
        == identity.caller(here)
        == identity.Identity("arn:aws:sts::1:assumed-role/ops/ada", "AROA1:ada")
    )
    identity.forget()
    assert identity.caller(here) == identity.caller(here) == identity.UNKNOWN
    assert len(asked) == 2, "a failure is remembered for a while as well"


def test_whose_an_entry_is_its_key_says_and_not_its_text(board: Board) -> None:
    board.repo.table.client().put_item(
        TableName=board.repo.table.name,
        Item={
            schema.KEY: attribute(f"{PREFIX}AIDAEVE|1-00"),
            schema.INDEX_HASH: attribute(PARTITION),
            schema.INDEX_RANGE: attribute(1),
            "entry": attribute('{"at":1,"verb":"retry","by":"ada","user_id":"AIDAADA","arn":"arn:ada"}'),
        },
    )
    (entry,) = Audit.of(board.repo).entries()
    assert (entry.by, entry.user_id) == ("ada", "AIDAEVE")


# --- search
def test_the_trail_is_searched_by_who_what_and_when_in_bounded_requests(board: Board) -> None:
    for number in range(130):
        board.clock.advance(1)
        acted(board.repo, "retry" if number % 2 else "dead abandon", what=f"job-{number}", by=f"p{number % 3}")
    trail, now = Audit.of(board.repo), board.clock()

    def find(limit: int = 1_000, **wanted: object) -> list[AuditEntry]:
        return list(trail.find(AuditFilter(**wanted), limit=limit).entries)  # type: ignore[arg-type]

    assert [entry.what for entry in find(what="job-129")] == ["job-129"]
    assert len(find(verb="abandon")) == len(find(verb="dead abandon")) == 65
    assert {entry.by for entry in find(who="p2")} == {"p2"}
    assert [entry.what for entry in find(since=now - 1_000)] == ["job-129", "job-128"]
    assert [entry.what for entry in find(since=now - 2_000, until=now - 1_000)] == ["job-128", "job-127"]
    first = trail.find(AuditFilter(what="nothing"), at_most=100)
    assert (first.entries, first.looked_at) == ((), 100)
    assert first.after is not None
    rest = trail.find(AuditFilter(), limit=50, after=first.after)
    assert (len(rest.entries), rest.looked_at, rest.after) == (30, 30, None)
