"""The guarantees of `docs/guarantees.md`, put to the test from outside: what ``jobclaim verify`` runs.

::

    plan  ──▶ calls ───▶ submitters ─┐                         ┌─▶ DynamoDB   (embedded, or any plain HTTP endpoint)
      │                              ├─▶ proxies with weather ─┤
      │        workers, recovery ────┘                         └─▶ SQS
      └─────▶ strikes ─▶ monkey: kills, freezes, deploys, outages, storms, messages copied, lost, old and forged

    at the end: faults stop, all drains, probes in calm; evidence ─▶ promises ─▶ table and exit code

It is an outsider: real worker processes of the installed package, the command line, `JobRepo` and what the bodies write
down themselves; no module of jobclaim's inside (held by import-linter). A seed gives the same calls and the same
strikes, not the same run: real processes and the kernel's scheduler have a say too.
"""
