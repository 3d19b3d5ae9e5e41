"""The book of claims: bounded, thread-safe, and it never forgets the wrong one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from jobclaim.jobs import Job, JobStatus
from jobclaim.jobs.protocol.claims import ClaimBook, new_token


def claimed(job_id: str, claim: str = "t") -> Job:
    return Job(job_id=job_id, task="t", queue="q", status=JobStatus.PROCESSING, claim_token=claim)


def test_a_claim_is_remembered_until_it_is_forgotten() -> None:
    book = ClaimBook()
    book.remember(claimed("a"))

    assert book.get("a") == claimed("a")
    book.forget("a", "t")
    assert book.get("a") is None
    book.forget("a", "t")  # a second time harms nobody


def test_a_later_claim_takes_the_place_of_an_earlier_one_and_survives_its_end() -> None:
    book = ClaimBook()
    book.remember(claimed("a", "old"))
    book.remember(claimed("a", "new"))

    book.forget("a", "old")

    assert book.get("a") == claimed("a", "new")


def test_the_claims_of_a_task_are_those_of_its_jobs() -> None:
    book, other = ClaimBook(), replace(claimed("b"), task="other")
    for job in (claimed("a"), other, claimed("c")):
        book.remember(job)

    assert book.of_task("t") == [claimed("a"), claimed("c")]
    assert book.of_task("other") == [other]
    assert book.of_task("none") == []


def test_the_book_is_bounded_and_forgets_the_oldest_claim_first() -> None:
    book = ClaimBook(capacity=3)
    for job_id in "abc":
        book.remember(claimed(job_id))
    book.remember(claimed("a", "again"))  # the youngest now

    book.remember(claimed("d"))

    assert [job_id for job_id in "abcd" if book.get(job_id)] == ["a", "c", "d"]


def test_threads_that_share_a_book_neither_lose_nor_mix_up_claims() -> None:
    book = ClaimBook(capacity=8 * 50)

    def live(worker: int) -> bool:
        right = True
        for turn in range(300):
            mine = claimed(f"{worker}-{turn % 50}", f"{worker}-{turn}")
            book.remember(mine)
            right &= book.get(mine.job_id) == mine
            if turn % 3 == 0:
                book.forget(mine.job_id, mine.claim_token)
                right &= book.get(mine.job_id) is None
        return right

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(live, range(8))) == [True] * 8


def test_tokens_are_never_drawn_twice() -> None:
    tokens = {new_token() for _ in range(10_000)}
    assert len(tokens) == 10_000
    assert {len(bytes.fromhex(token)) for token in tokens} == {8}


def test_a_jobs_text_shows_no_argument_no_result_and_no_token() -> None:
    job = Job(
        job_id="j",
        task="t",
        queue="q",
        status=JobStatus.FAILED,
        payload="SECRET",
        result="SECRET",
        claim_token="SECRET",
    )

    assert "SECRET" not in repr(job) + str(job.log_context())


def test_claims_without_an_answer_are_taken_oldest_first_and_the_oldest_are_dropped_beyond_the_capacity() -> None:
    book = ClaimBook(capacity=2)
    for number in range(3):
        book.add_unanswered(f"j{number}", f"t{number}")
    assert [book.take_unanswered() for _ in range(3)] == [("j1", "t1"), ("j2", "t2"), None]
    book.add_unanswered("j", "t")
    book.add_unanswered("k", "u")
    assert [book.take_unanswered(), book.take_unanswered()] == [("j", "t"), ("k", "u")]
