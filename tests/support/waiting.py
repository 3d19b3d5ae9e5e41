"""Waiting for an event with a bound: the only way a test waits."""

from __future__ import annotations

from jobclaim.verify.waiting import wait_until

__all__ = ["wait_until"]
