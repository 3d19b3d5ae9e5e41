"""What people do about dead letters, in Python: find, count and group them; retry, resolve or abandon them.

::

    letters = DeadLetters(repo)
    letters.groups(Filter(task="shop.charge"))                    what goes wrong, and how often
    letters.act("retry", Filter(fingerprint="5f1c8f3e2a57"), by="ada", reason="the bank is back", rate=100)

Every act on a job is one conditional write on what was read. A job that was acted on has left the part of the index
that is walked, so a command that was killed is repeated as it is: it goes on with the rest. Alone the time window's
end must stay the same (``Filter.until``), so that what failed again meanwhile is not taken for the rest.
"""

from __future__ import annotations

from jobclaim.recovery.dead.decisions import VERBS, Verb, retry, settle, state_of
from jobclaim.recovery.dead.filter import OPEN_STATES, Filter
from jobclaim.recovery.dead.groups import Group, grouped
from jobclaim.recovery.dead.letters import ActReport, DeadLetters

__all__ = [
    "OPEN_STATES",
    "VERBS",
    "ActReport",
    "DeadLetters",
    "Filter",
    "Group",
    "Verb",
    "grouped",
    "retry",
    "settle",
    "state_of",
]
