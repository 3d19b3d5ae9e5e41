"""A mistake of ours: the page says so behind all guards, and neither it nor the log quotes what went wrong."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from jobclaim.dashboard.security.headers import CSP
from jobclaim.settings import Settings
from jobclaim.workers.telemetry import logs
from tests.unit.dashboard.conftest import Board

SECRET = "card-4111-1111"


def test_an_unexpected_error_is_a_page_with_every_header_and_no_detail(board: Board) -> None:
    def broken(**_: Any) -> Any:
        raise ArithmeticError(SECRET)

    board.services.dynamodb.scan = broken
    answer = board.browser(raise_server_exceptions=False).get("/workers")
    assert answer.status_code == 500
    assert SECRET not in answer.text
    assert "ArithmeticError" in answer.text
    assert answer.headers["content-security-policy"] == CSP


def test_the_servers_own_traceback_has_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    try:
        raise RuntimeError(SECRET)
    except RuntimeError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    told = capsys.readouterr().err
    assert SECRET not in told
    assert "builtins.RuntimeError" in told
    assert "test_unexpected.py" in told
