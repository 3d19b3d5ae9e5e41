"""Helpers for tests of code that uses jobclaim: no AWS and no worker process, but with every claim and every fence.

::

    def test_an_order_is_confirmed_once(jobclaim):
        confirm.delay(order=7)
        confirm.delay(order=7)
        jobclaim.assert_submitted(confirm, order=7)
        jobclaim.drain()
        assert mails_sent == [7]

The package provides the fixture ``jobclaim`` as a pytest plugin. `Harness` is the same without pytest.
"""

from jobclaim.testing.harness import Harness, Message
from jobclaim.workers.attempt.eagerly import TIMES_OUT
from jobclaim.workers.attempt.eagerly import resumed_with as resumed

__all__ = ["TIMES_OUT", "Harness", "Message", "resumed"]
