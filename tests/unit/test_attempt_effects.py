"""Effects of a body before its completion is written: what counts as one, and what a refusal or a lost claim leaves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
from celery.exceptions import Ignore
from kombu.exceptions import EncodeError

from jobclaim.jobs import Effects, InvalidEffect, InvalidPayload
from jobclaim.workers.attempt import effects as module
from jobclaim.workers.attempt.effects import EffectfulTask, _AfterBody, collecting
from jobclaim.workers.messages import links


def a_task() -> Any:
    task: Any = EffectfulTask()
    task.name = "t"
    return task


def one_effect() -> Effects:
    made = Effects()
    made.put(TableName="mine", Item={"id": 1})
    return made


def test_a_body_has_effects_once_it_has_collected_one() -> None:
    task = a_task()
    assert task._has_effects() is False
    with collecting(Effects()):
        assert task._has_effects() is False
        task._refuse_effects("replace()")
    with collecting(one_effect()) as effects:
        assert task._has_effects() is True
        assert task.effects is effects
        with pytest.raises(InvalidEffect, match=r"replace\(\) passes the work of task 't' on.* its 1 effects"):
            task._refuse_effects("replace()")
    with pytest.raises(InvalidEffect, match="there is no attempt here"):
        _ = task.effects


@pytest.mark.parametrize(("answer", "error"), [(InvalidPayload("x"), EncodeError), ([None], Ignore)])
def test_a_result_that_cannot_be_stored_and_a_lost_claim_end_the_body_and_send_nothing(answer: Any, error: Any) -> None:
    task = MagicMock(request=SimpleNamespace(job=MagicMock(), callbacks="kept", chain="kept"))
    with (
        patch.object(module, "record_success", side_effect=answer),
        patch.object(links, "has_followers", return_value=False),
        patch.object(module, "publish_if_due") as publish,
        pytest.raises(error),
    ):
        EffectfulTask._write_with_effects(task, 7)
    assert (task.request.callbacks, task.request.chain, publish.called) == ("kept", "kept", False)


def test_what_follows_the_body_is_retried_as_the_task_whose_attributes_it_shows() -> None:
    task = SimpleNamespace(name="t", extra=1)
    made: Any = _AfterBody
    after = made(task, lambda: "written")
    assert (after.name, after.run()) == ("t", "written")
    assert not hasattr(after, "_orig_run")
    after.run, after._orig_run = "retried", "written"
    after.throws = (KeyError,)
    del after.extra
    assert (after.run, after._orig_run) == ("retried", "written")
    assert vars(task) == {"name": "t", "throws": (KeyError,)}
