"""Judge of every write and of every answer, by rules of its own: it knows nothing of `jobclaim.jobs.transitions`.

::

    (none) ──▶ PENDING            a submitter; a recorded result is COMPLETED at once
    PENDING ──▶ PROCESSING        a worker, the attempt that its message named, one more attempt, one charged
    PROCESSING ──▶ anything else  the worker with the stored token; or recovery, on the claim that it read
    PENDING ──▶ an end            on the attempt that was read, which is passed over
    PENDING ──▶ PENDING           recovery, one dispatch more than it read
    an end ──▶ anything           on exactly the end that was read, and only where it answers nobody any more
    FAILED ──▶ FAILED             a person, on exactly what was decided about it when it was read
    FAILED ──▶ PENDING            so a person; and recovery where the time of the retry that was decided on has come

An update that is refused is judged too: whoever holds the claim, or has read what is stored, must not be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from jobclaim.jobs.storage.note_keys import SEPARATOR
from tests.simulation.dynamodb import Write, write_units
from tests.simulation.expressions import Item
from tests.simulation.judge.bodies import BodyJudge
from tests.simulation.judge.effects import LEDGER, of_completion, of_submission
from tests.simulation.judge.facts import OPEN, Facts, is_over, require, same_as_read
from tests.simulation.judge.limits import LimitJudge
from tests.simulation.judge.times import TimeJudge
from tests.simulation.line import Writer
from tests.simulation.scenario import SKEW_MS

SIMPLE: Final = [">PENDING", "PENDING>PROCESSING", "PROCESSING>COMPLETED"]


class Oracle(BodyJudge, TimeJudge, LimitJudge):
    """Looks on; raises `Broken` at the first promise that is broken."""

    def observe(self, write: Write, writer: Writer) -> None:
        """Judge a write."""
        if write.table == LEDGER:
            self.effects.observe(write)
            return
        if write.table != self.settings.job_table:
            self._judge_fleet(write, writer)
            return
        if SEPARATOR in write.key:  # a note: no job
            return
        if write.new is None:
            self._deleted(write, writer)
            return
        require(write.key not in self.strange, "what is not understood is left alone", write.key)
        old, new = Facts(write.old), Facts(write.new)
        self._judge(write.key, old, new, writer)
        self._bill(write, old, new)
        self.current[write.key], self.attempts[write.key] = new.submission, new.attempt
        self.submissions[new.submission] = write.key
        if new.status == "PENDING":
            run = write.key, new.submission, new.attempt
            self.counted[run] = max(self.counted[run], new.dispatches)

    def _judge_fleet(self, write: Write, writer: Writer) -> None:
        if write.new is None and write.old is not None and writer.process.kind == "recovery":
            silence = writer.process.clock() - Facts(write.old).seen_at
            dead = silence >= self.settings.worker_dead_after_seconds * 1000
            require(dead, "the living are not buried", f"{write.key}: seen {silence} ms before")

    def refused(self, request: dict[str, Any], stored: Item | None, writer: Writer) -> None:
        """Judge that an update was refused, by what is stored."""
        if request["TableName"] != self.settings.job_table or stored is None or SEPARATOR in stored["job_id"]["S"]:
            return
        key, now, process = stored["job_id"]["S"], Facts(stored), writer.process
        if process.kind == "worker":
            values = request["ExpressionAttributeValues"]
            claims = values[":status"] == {"S": "PROCESSING"} and values[":claim_token"] != stored.get("claim_token")
            mine = now.status == "PROCESSING" and now.claim_token == writer.token
            require(not mine, "the current claim is not refused", key)
            due = now.status == "PENDING" and writer.attempt in (None, now.attempt)
            late = 0 < now.start_by < process.clock()
            foreign = values.get(":if_task", stored["task"]) != stored["task"]
            early = ":due" in values and now.available_at > int(values[":due"]["N"])  # which it may have asked long ago
            refusable = late or foreign or early
            require(not claims or not due or refusable, "a waiting job is not refused", key)
        else:
            require(stored is not writer.seen, "nobody is refused who has read what is stored", key)

    def _judge(self, key: str, old: Facts, new: Facts, writer: Writer) -> None:
        require(new.attempt >= old.attempt, "attempts only grow", f"{key}: {old.attempt} -> {new.attempt}")
        require(new.status not in OPEN or not new.expires_at, "an open job has no expiry", f"{key}: {new.expires_at}")
        if new.submission not in self.allowed:
            self._allow(key, old, new, writer)
        if self.with_effects and writer.process.kind == "submitter" and new.status == "PENDING":
            self.effects.wanted[of_submission(key)] += 1
        rules: dict[tuple[str, bool], Callable[[str, Facts, Facts, Writer], None]] = {
            ("", True): self._created,
            ("PENDING", True): self._from_pending,
            ("PENDING", False): self._passed_over,
            ("PROCESSING", True): self._attempt_ended,
            ("PROCESSING", False): self._attempt_ended,
        }
        rules.get((old.status, new.status in OPEN), self._after_the_end if old.status else self._created)(
            key, old, new, writer
        )

    def _allow(self, key: str, old: Facts, new: Facts, writer: Writer) -> None:
        """Note how many bodies a run may have: what its submission said, again after a person, one more by a rule."""
        if writer.process.kind == "submitter" or key not in self.usual:
            self.usual[key] = max(1, new.max_attempts)
        by_rule = writer.process.kind == "recovery" and old.status == "FAILED"
        self.allowed[new.submission] = 1 if by_rule else self.usual[key]

    def _deleted(self, write: Write, writer: Writer) -> None:
        """DynamoDB deletes what has expired: ended jobs, and none that still answers for its window."""
        key, old, now = write.key, Facts(write.old), self.world.now
        by_ttl = writer.process.kind == "ttl" and old.status not in OPEN
        require(by_ttl, "no job is lost", f"{key} was deleted by {writer.process.kind}, {old.status}")
        window = old.finished_at + old.idempotency_ttl * 1000 - SKEW_MS if old.status == "COMPLETED" else 0
        require(window <= now, "a result is there for its window", f"{key}: deleted {window - now} ms too early")
        self.deleted.add(key)
        self.bodies[key], self.current[key] = {}, ""

    def _created(self, key: str, old: Facts, new: Facts, writer: Writer) -> None:
        legal = {"submitter": "PENDING", "person": "COMPLETED"}.get(writer.process.kind) == new.status
        require(
            legal and new.attempt == 0, "only submitters make jobs", f"{key}: {new.status} by {writer.process.kind}"
        )

    def _from_pending(self, key: str, old: Facts, new: Facts, writer: Writer) -> None:
        if new.status == "PENDING":
            require(writer.process.kind == "recovery", "recovery dispatches", f"{key}: {writer.process.name}")
            same_as_read(key, old, writer, "status", "attempt", "dispatches")
            require(new.dispatches == old.dispatches + 1, "a dispatch is counted once", f"{key}: {new.dispatches}")
            require(new.attempt == old.attempt, "a dispatch starts nothing", key)
            return
        require(writer.process.kind == "worker", "workers claim", f"{key}: {writer.process.name}")
        named = writer.attempt
        require(named in (None, old.attempt), "a message starts its own attempt", f"{key}: {named}, not {old.attempt}")
        one_more = (new.attempt, new.charged) == (old.attempt + 1, old.charged + 1)
        require(one_more, "a claim is one attempt", f"{key}: {old.attempt} -> {new.attempt}")
        require(not 0 < old.start_by < new.claimed_at, "too late is never started", key)
        require(new.claim_token not in ("", old.claim_token), "a claim is fresh", key)
        require(new.lease_expires_at == new.claimed_at + new.lease_ms, "a lease is as long as its limit says", key)
        self.owners[key, new.claim_token] = writer.process
        self.claimed_at[key, new.claim_token] = self.world.now

    def _attempt_ended(self, key: str, old: Facts, new: Facts, writer: Writer) -> None:
        require(new.status != "PROCESSING", "one claim per attempt", f"{key}: claimed while {old.claim_token} held it")
        require(new.attempt == old.attempt, "an end starts nothing", f"{key}: {old.attempt} -> {new.attempt}")
        process = writer.process
        if process.kind == "worker":
            mine = self.owners.get((key, old.claim_token)) is process and writer.token in ("", old.claim_token)
            require(mine, "the current claim writes the end", f"{key}: {process.name} with a claim that is over")
            self.ended[key, old.claim_token] = new.status
            if new.status == "PENDING" and self.meant.get(old.claim_token) == "release":
                self.charged[old.submission] -= 1
        else:
            insists = (
                process.kind == "person" and new.status == "CANCELLED"
            )  # its worker is dead, as recovery knows too
            require(insists or process.kind == "recovery", "owners and recovery end attempts", f"{key}: {process.name}")
            same_as_read(key, old, writer, "status", "claim_token")
            owner = self.owners.get((key, old.claim_token))
            since = self.claimed_at[key, old.claim_token]
            healthy = owner is not None and owner.token == old.claim_token and owner.disturbed_at < since
            require(not healthy, "no orphan is made of a healthy claim", f"{key}: {owner and owner.name}")
        if new.status == "COMPLETED":
            require(new.result == f"[{old.attempt}]", "the result is the attempt's own", f"{key}: {new.result}")
            self.effects.wanted[of_completion(key, new.submission)] += self.with_effects

    def _passed_over(self, key: str, old: Facts, new: Facts, writer: Writer) -> None:
        require(new.status in ("FAILED", "CANCELLED"), "only a claim completes", f"{key}: {new.status}")
        same_as_read(key, old, writer, "status", "attempt")
        require(new.attempt == old.attempt + 1, "messages of an ended wait start nothing", f"{key}: {new.attempt}")
        if new.status == "FAILED":
            same_as_read(key, old, writer, "dispatches")
            unclaimed = old.dispatches >= self.settings.max_dispatches
            require(unclaimed, "none is given up early", f"{key}: {old.dispatches}")

    def _after_the_end(self, key: str, old: Facts, new: Facts, writer: Writer) -> None:
        kind, clock = writer.process.kind, writer.process.clock()
        same_as_read(key, old, writer, "status", "attempt", "finished_at", "submission")
        require(new.attempt == old.attempt, "attempts are counted on", key)
        if (old.status, new.status) == ("FAILED", "FAILED") or (kind, new.status) == ("recovery", "PENDING"):
            self._decided(key, old, new, writer)
            return
        require(kind in ("submitter", "person"), "an end is written once", f"{key}: {old.status} by {kind}")
        require(new.status in ("PENDING", "COMPLETED"), "an end is written once", f"{key}: {new.status}")
        if kind == "person" and old.status == "COMPLETED" and new.submission == old.submission:
            require(new.result == old.result and not new.idempotency_ttl, "forgetting changes no result", key)
            return
        if kind == "person" and new.status == "PENDING":
            same_as_read(key, old, writer, "dead_state")
            require(old.status == "FAILED", "only a failed job is retried", f"{key}: {old.status}")
        over = old.status != "COMPLETED" or old.finished_at + old.idempotency_ttl * 1000 <= clock
        require(over, "equal submissions run once", f"{key}: run anew while its result stands")
        require(new.submission != old.submission, "a new run is told from the old one", key)

    def _decided(self, key: str, old: Facts, new: Facts, writer: Writer) -> None:
        """A decision about a failed job, by a person or by its rule, rests on those that were made before."""
        same_as_read(key, old, writer, "dead_state", "retry_at", "dead_retries")
        if writer.process.kind == "recovery":
            due = old.dead_state == "SCHEDULED" and 0 < old.retry_at <= writer.process.clock()
            require(old.status == "FAILED" and due, "retries are decided on beforehand", f"{key}: {old.dead_state}")
            require(new.dead_retries == old.dead_retries + 1, "a retry is counted", f"{key}: {new.dead_retries}")
            require(new.submission != old.submission, "a new run is told from the old one", key)
            return
        settled = (old.dead_state in ("WAITING", "SCHEDULED"), new.dead_state in ("RESOLVED", "ABANDONED"))
        require(writer.process.kind == "person" and all(settled), "people settle", f"{key}: {new.dead_state}")
        require(new.submission == old.submission and not new.retry_at, "what is settled stays so", key)

    def sent(self, job_id: str, attempt: int | None) -> None:
        """Judge that a message is sent: it was counted before, so that a job that kills its messages ends."""
        self.messages[job_id, attempt] += 1
        if attempt is not None:
            counted = sum(count for (job, _, at), count in self.counted.items() if (job, at) == (job_id, attempt))
            sent = self.messages[job_id, attempt]
            require(sent <= counted, "no message is sent that is not counted", f"{job_id}: {sent}, not {counted}")

    def _bill(self, write: Write, old: Facts, new: Facts) -> None:
        self.lives[write.key].append(f"{old.status}>{new.status}")
        self.units[write.key] += write.table_units + write.index_units
        listed = self.scenario.listed
        promised = {
            ("", "PENDING"): (1,),
            ("PENDING", "PROCESSING"): (0,),
            ("PENDING", "PENDING"): (2,) if old.unsent else (0,),
            ("PROCESSING", "COMPLETED"): (2 if listed else 1,),
            ("PROCESSING", "FAILED"): (2,),
            ("PROCESSING", "PENDING"): (0, 2),
        }.get((old.status, new.status))
        right = promised is None or write.index_units in promised
        require(right, "write units as promised", f"{write.key}: {write.index_units} in the index, not {promised}")

    def all_over(self, items: dict[str, Item]) -> bool:
        """Whether every job has ended for good: none is open, none is to be started again by its rule."""
        return all(self._is_over(key, item) for key, item in items.items())

    def _is_over(self, key: str, item: Item) -> bool:
        return key in self.strange or SEPARATOR in key or is_over(item)

    def planted(self, key: str, item: Item) -> None:
        """Take note of an item that another release has written."""
        found = Facts(item)
        if found.status not in OPEN:
            self.strange.add(key)
            return
        self.lives[key].append("planted")
        self.usual[key] = self.allowed[found.submission] = found.max_attempts
        self.current[key], self.attempts[key] = found.submission, found.attempt
        self.submissions[found.submission] = key

    def conclude(self, items: dict[str, Item]) -> None:
        """Judge the whole run."""
        open_still = {key: item["status"]["S"] for key, item in items.items() if not self._is_over(key, item)}
        require(not open_still, "every job ends", f"{open_still}")
        self.effects.conclude()
        lost = set(self.submissions.values()) - items.keys() - self.deleted
        require(not lost, "no job is lost", f"{lost}")
        for key, life in self.lives.items():
            if (
                key in items
                and life == [">PENDING", "PENDING>PROCESSING", "PROCESSING>COMPLETED"]
                and write_units(items[key]) == 1
            ):
                promised = 6 if self.scenario.listed else 5
                require(self.units[key] == promised, "write units as promised", f"{key}: {self.units[key]} in all")
