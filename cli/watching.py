"""``--watch``: repeat a command's output until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from jobclaim.cli.times import Duration


def watch_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option ``--watch [EVERY]`` to a command; passed on as ``watch`` in milliseconds."""
    return click.option(
        "-w",
        "--watch",
        type=Duration(),
        is_flag=False,
        flag_value="2s",
        help="Repeat at this interval until Ctrl-C; default: 2s.",
    )(command)


def repeat(watch: int | None, show: Callable[[], None], *, clear: bool) -> None:
    """Show once, or every ``watch`` milliseconds; on a terminal each time on a clean screen."""
    if watch is not None and watch < 100:
        raise click.BadParameter(f"{watch} ms is too short; the minimum is 100 ms", param_hint="--watch")
    try:
        while True:
            if watch is not None and clear and sys.stdout.isatty():
                click.clear()
            show()
            sys.stdout.flush()
            if watch is None:
                return
            time.sleep(watch / 1000)
    except KeyboardInterrupt:
        return
