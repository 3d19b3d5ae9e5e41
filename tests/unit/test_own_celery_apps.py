"""Tests of this suite keep Celery's process state apart, whatever their order."""

from __future__ import annotations

import pytest
from celery import Celery, _state, shared_task

from tests.conftest import same_celery_apps


@pytest.mark.parametrize("leave", ["set_current", "set_default"])
def test_shared_tasks_of_later_modules_are_found_after_an_app_was_left(leave: str) -> None:
    with same_celery_apps():
        left = Celery("left", set_as_current=False)
        getattr(left, leave)()
        left.finalize()
        left.close()
    name = f"tests.imported_after_{leave}"

    @shared_task(name=name)
    def imported_later() -> None:
        """A task of a module that is imported after that app was closed."""

    assert _state._get_current_app() is not left
    assert imported_later.name == name


def test_whether_results_may_be_waited_for_is_put_back() -> None:
    with same_celery_apps():
        _state._set_task_join_will_block(True)
    assert not _state.task_join_will_block()
