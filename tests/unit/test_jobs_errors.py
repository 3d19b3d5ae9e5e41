"""What errors say: the sentence alone, whatever else they carry."""

from __future__ import annotations

import pytest

from jobclaim.jobs import JobNotFound, NotClaimed
from jobclaim.jobs.errors import AlreadySubmitted, EffectRefused


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (JobNotFound("j"), "no job has the id 'j': it was never created"),
        (NotClaimed("j", "COMPLETED"), "job 'j' cannot become COMPLETED: this JobRepo holds no claim"),
        (AlreadySubmitted("it was submitted", ("a",)), "it was submitted"),
        (EffectRefused("it was refused", table="ledger", index=2), "it was refused"),
    ],
)
def test_an_error_says_a_sentence(error: Exception, says: str) -> None:
    assert str(error).startswith(says)
    assert len(error.args) == 1
