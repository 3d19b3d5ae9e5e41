"""The audit trail and its writer's identity in detail, on the simulation's model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from botocore.exceptions import ClientError

from jobclaim.fleet import acting as acts
from jobclaim.fleet import identity
from jobclaim.fleet.acting import Act, acted, acting, current_act, framed, named, on_behalf
from jobclaim.fleet.audit import LONGEST, PARTITION, PREFIX, Audit, AuditEntry, AuditFilter
from jobclaim.fleet.identity import KNOWN_SECONDS, UNKNOWN, UNKNOWN_SECONDS, Identity
from jobclaim.jobs import JobRepo
from jobclaim.jobs.encoding import schema
from jobclaim.jobs.encoding.item import attribute
from jobclaim.settings import Settings
from tests.simulation.client import model_repo
from tests.support.clock import START_MS, ManualClock

SETTINGS = Settings(_env_file=None, endpoint_url="http://127.0.0.1:9")
ADA = Identity("arn:aws:iam::1:user/ada", "AIDA")
ENTRY = AuditEntry(at=1, verb="dead retry", by="ada", what="job j1", arn="arn:aws:iam::1:user/x", user_id="AIDA")


@pytest.fixture
def repo(clock: ManualClock) -> Iterator[JobRepo]:
    with patch("jobclaim.fleet.audit.caller", return_value=ADA):
        yield model_repo(SETTINGS, clock)


def latest(repo: JobRepo) -> AuditEntry:
    return Audit.of(repo).entries()[0]


# --- actions
@pytest.mark.parametrize(
    ("set_counts", "counts"),
    [
        ({}, (1, 0)),
        ({"done": 3}, (3, 0)),
        ({"refused": 2}, (0, 2)),
        ({"done": 0}, (0, 0)),
        ({"done": 1, "refused": 2}, (1, 2)),
    ],
)
def test_counts_that_an_action_has_set_stand_in_its_entry_and_else_how_it_ended(
    set_counts: dict[str, int], counts: tuple[int, int]
) -> None:
    assert tuple(Act(**set_counts).result(done=1, refused=0).values()) == counts


def test_counts_add_up() -> None:
    act = Act()
    act.count(done=2)
    act.count(refused=1)
    act.count(done=1, refused=1)
    assert act == Act(3, 2)


def test_an_action_that_was_interrupted_is_refused_and_the_next_one_has_an_entry_of_its_own(
    repo: JobRepo, clock: ManualClock
) -> None:
    with pytest.raises(KeyboardInterrupt), acting(repo, "purge", by="ada"):
        raise KeyboardInterrupt
    assert (latest(repo).done, latest(repo).refused) == (0, 1)
    clock.advance(1)
    with acting(repo, "pause", by="ada"):
        assert (latest(repo).verb, latest(repo).done, latest(repo).refused) == ("pause", None, None)
    assert (latest(repo).done, latest(repo).refused) == (1, 0)


def test_an_action_that_is_recorded_when_it_is_done_has_all_that_was_said(repo: JobRepo) -> None:
    acted(repo, "pause", what="queue mail", why="the bank is down", by="ada")
    entry = latest(repo)
    assert (entry.verb, entry.what, entry.why, entry.by, entry.face) == (
        "pause",
        "queue mail",
        "the bank is down",
        "ada",
        "python",
    )
    assert (entry.done, entry.refused, entry.arn, entry.user_id) == (1, 0, ADA.arn, "AIDA")


def test_a_frame_says_who_and_where_until_it_ends(
    repo: JobRepo, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acts, "whoami", lambda: "me@here")
    with on_behalf("bob", "api"):
        acted(repo, "one")
        assert (latest(repo).by, latest(repo).face) == ("bob", "api")
        clock.advance(1)
        acted(repo, "two", by="ada")
        assert (latest(repo).by, latest(repo).face) == ("ada", "api")
    clock.advance(1)
    acted(repo, "three")
    assert (latest(repo).by, latest(repo).face) == ("me@here", "python")
    clock.advance(1)
    with framed(lambda: repo, "four", by="bob", face="cli", what="w", why="y"):
        current_act().count(refused=2)
    entry = latest(repo)
    assert (entry.verb, entry.by, entry.face, entry.what, entry.why, entry.done, entry.refused) == (
        *("four", "bob", "cli", "w", "y"),
        *(0, 2),
    )
    assert current_act() == Act()
    clock.advance(1)
    with framed(lambda: repo, "five", by="bob", face="cli"):
        pass
    assert (latest(repo).verb, latest(repo).done, latest(repo).refused) == ("five", 1, 0)


def test_within_an_action_of_a_frame_its_own_counts_are_the_ones_that_are_kept(repo: JobRepo) -> None:
    with framed(lambda: repo, "outer", by="bob", face="cli"), acting(repo, "inner") as act:
        assert current_act() is act
    assert [entry.verb for entry in Audit.of(repo).entries()] == ["inner"]


@pytest.mark.parametrize(("name", "text"), [("queue", "queue=mail"), ("set_args", "set_args=(hidden)")])
def test_a_value_that_may_hold_arguments_is_hidden(name: str, text: str) -> None:
    assert named(name, "mail") == text


# --- entries
@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        ({}, True),
        *(({"who": who}, True) for who in ("ad", "user/x", "AIDA")),
        ({"who": "bob"}, False),
        *(({"verb": verb}, True) for verb in ("dead retry", "retry")),
        *(({"verb": verb}, False) for verb in ("dead", "etry", "pause")),
        ({"what": "j1"}, True),
        ({"what": "j2"}, False),
    ],
)
def test_a_filter_matches_by_each_of_its_fields(wanted: dict[str, Any], fits: bool) -> None:
    assert AuditFilter(**wanted).fits(ENTRY) is fits


def test_a_verb_of_three_words_is_found_by_its_last_one() -> None:
    assert AuditFilter(verb="c").fits(AuditEntry(at=1, verb="a b c", by=""))


def test_an_entry_is_stored_small_and_kept_as_long_as_failed_jobs(repo: JobRepo) -> None:
    Audit.of(repo).record("pause", by="ü" * LONGEST, what="queue mail")
    [item] = repo.table.items([latest(repo).key])
    assert int(item[schema.TTL]["N"]) == (START_MS + repo.retention.dead) // 1000
    assert item[schema.INDEX_HASH] == attribute(PARTITION)
    text = item["entry"]["S"]
    assert len(text.encode()) < LONGEST + 200
    assert ('"ü' in text, ", " in text, '": ' in text, '""' in text, "null" in text) == (True, *[False] * 4)
    assert '"key"' not in text
    assert latest(repo).key.startswith(f"{PREFIX}AIDA|{START_MS}-")


def test_an_entry_whose_writer_sts_did_not_name_says_so(repo: JobRepo) -> None:
    audit = Audit(repo.table, clock=repo.clock, keep_ms=1_000)
    assert audit.record("pause", by="ada").user_id == "unknown"
    assert audit.record("purge", by="ada", refused=4, done=0).refused == 4


def entries(repo: JobRepo, clock: ManualClock, count: int) -> list[int]:
    """Write some entries, one a second; return their times, newest first."""
    times = []
    for number in range(count):
        clock.advance(1)
        Audit.of(repo).record("even" if number % 2 else "odd", by="ada")
        times.append(clock())
    return times[::-1]


def test_a_search_goes_on_where_it_stopped_and_reads_no_more_than_it_may(repo: JobRepo, clock: ManualClock) -> None:
    times, audit, odd = entries(repo, clock, 7), Audit.of(repo), AuditFilter(verb="odd")

    first = audit.find(odd, limit=2)
    assert ([one.at for one in first.entries], first.looked_at) == ([times[0], times[2]], 3)
    then = audit.find(odd, after=first.after)
    assert ([one.at for one in then.entries], then.looked_at, then.after) == ([times[4], times[6]], 4, None)
    bounded = audit.find(odd, at_most=2)
    assert ([one.at for one in bounded.entries], bounded.looked_at) == ([times[0]], 2)
    assert [one.at for one in audit.find(odd, after=bounded.after, at_most=1).entries] == [times[2]]
    assert [one.at for one in audit.entries(limit=3)] == times[:3]


def test_a_search_reads_in_pages(repo: JobRepo, clock: ManualClock) -> None:
    times = entries(repo, clock, 5)
    with patch("jobclaim.fleet.audit.PAGE", 2), patch.object(repo.table, "entries", wraps=repo.table.entries) as asked:
        page = Audit.of(repo).find(AuditFilter(), at_most=5)
    assert ([one.at for one in page.entries], page.looked_at, page.after and page.after.at) == (times, 5, times[-1])
    assert [one.kwargs["limit"] for one in asked.call_args_list] == [2, 2, 1]


def test_a_window_includes_both_its_ends_and_no_other_entry(repo: JobRepo, clock: ManualClock) -> None:
    times, audit = entries(repo, clock, 5), Audit.of(repo)
    with patch.object(repo.table, "entries", wraps=repo.table.entries) as asked:
        found = [
            [one.at for one in audit.find(AuditFilter(since=since, until=until)).entries]
            for since, until in ((times[2], 0), (0, times[2]), (times[3], times[1]))
        ]
    assert found == [times[:3], times[2:], times[1:4]]
    assert [one.kwargs["since"] for one in asked.call_args_list] == [times[2], None, times[3]]
    assert asked.call_args_list[0].kwargs["up_to"] == clock() + repo.retention.dead
    assert audit.find(AuditFilter()).looked_at == 5


def test_the_latest_entries_are_shown_even_if_a_clock_far_ahead_wrote_them(repo: JobRepo) -> None:
    far = START_MS + 2 * repo.retention.dead
    Audit(repo.table, clock=lambda: far, keep_ms=1).record("pause", by="ada")
    assert [entry.at for entry in Audit.of(repo).entries()] == [far]
    assert Audit.of(repo).find(AuditFilter(since=START_MS)).entries == ()


def test_an_entry_is_tried_again_after_a_wait_of_its_table(repo: JobRepo) -> None:
    slow = ClientError({"Error": {"Code": "ThrottlingException"}}, "PutItem")
    client, slept = MagicMock(), list[float]()
    client.put_item.side_effect = [slow, {}]
    with patch.object(repo.table, "client", lambda: client), patch.object(repo.table, "sleep", slept.append):
        Audit.of(repo).record("pause", by="ada")
    assert (client.put_item.call_count, len(slept)) == (2, 1)


@pytest.mark.parametrize("text", ["[]", "7", "rubbish"])
def test_an_item_that_is_not_an_entry_is_passed_over(repo: JobRepo, text: str) -> None:
    put(repo, f"{PREFIX}x", text)
    assert Audit.of(repo).find(AuditFilter()).entries == ()


def test_whose_an_entry_under_another_kind_of_key_is_remains_unknown(repo: JobRepo) -> None:
    put(repo, "old|key", '{"at":1,"verb":"pause","by":"ada","user_id":"forged"}')
    assert latest(repo).user_id == ""


def put(repo: JobRepo, key: str, text: str) -> None:
    item = {
        schema.KEY: attribute(key),
        schema.INDEX_HASH: attribute(PARTITION),
        schema.INDEX_RANGE: attribute(START_MS),
        "entry": attribute(text),
    }
    repo.table.client().put_item(TableName=repo.table.name, Item=item)


# --- identity
class Sts:
    """STS, which may be away."""

    def __init__(self, *answers: dict[str, str] | None) -> None:
        self.answers = list(answers)

    def get_caller_identity(self) -> dict[str, str]:
        answer = self.answers.pop(0)
        if answer is None:
            raise ConnectionError
        return answer


def test_an_answer_is_remembered_for_long_and_a_failure_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now, sts = [1000.0], Sts(None, {"Arn": ADA.arn, "UserId": ADA.user_id}, None)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr(identity, "_client", lambda _: sts)
    identity.forget()
    found = []
    for later in (0, UNKNOWN_SECONDS - 1, 1, KNOWN_SECONDS - 1, 1):
        now[0] += later
        found.append(identity.caller(SETTINGS))
    identity.forget()
    assert found == [UNKNOWN, UNKNOWN, ADA, ADA, UNKNOWN]


def test_beside_a_local_store_sts_is_not_asked_and_elsewhere_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_ask", lambda _: ADA)
    identity.forget()
    local = SETTINGS.model_copy(update={"endpoint_url": None, "dynamodb_endpoint_url": "http://127.0.0.1:9"})
    assert identity.caller(local) == UNKNOWN
    assert identity.caller(SETTINGS.model_copy(update={"endpoint_url": None, "region": "eu-west-1"})) == ADA
    identity.forget()


def test_sts_is_given_little_time_and_one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float, str, int]] = []

    def client(settings: Settings, service: str, *, attempts: int) -> Sts:
        asked.append((settings.connect_timeout_seconds, settings.read_timeout_seconds, service, attempts))
        return Sts({"Arn": ADA.arn, "UserId": ADA.user_id})

    monkeypatch.setattr("jobclaim.jobs.storage.connect.client", client)
    identity.forget()
    assert identity.caller(SETTINGS) == ADA
    assert identity.caller(SETTINGS) is identity.caller(SETTINGS)
    identity.forget()
    assert asked == [(2.0, 2.0, "sts", 1)]
