"""Handle dead letters in Python: find, count and group them; retry, resolve or abandon them.

::

    letters = DeadLetters(repo)
    letters.groups(Filter(task="shop.charge"))                    what goes wrong, and how often
    letters.act("retry", Filter(fingerprint="5f1c8f3e2a57"), by="ada", reason="the bank is back", rate=100)

Every action on a job is one conditional write on what was read. A job that was acted on leaves the part of the index
that is walked, so a command that was killed can be repeated unchanged: it continues with the rest. Only the end of the
time window must stay the same (``Filter.until``), so that jobs that failed again meanwhile do not count as the rest.
"""

from __future__ import annotations

from jobclaim.recovery.dead.decisions import VERBS, Verb, resolve_edited, retry, settle, state_of
from jobclaim.recovery.dead.filter import OPEN_STATES, Filter
from jobclaim.recovery.dead.groups import Group, grouped
from jobclaim.recovery.dead.letters import DeadLetters
from jobclaim.recovery.many import ActReport

__all__ = [
    "OPEN_STATES",
    "VERBS",
    "ActReport",
    "DeadLetters",
    "Filter",
    "Group",
    "Verb",
    "grouped",
    "resolve_edited",
    "retry",
    "settle",
    "state_of",
]
