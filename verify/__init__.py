"""Test the guarantees of `docs/guarantees.md` from outside: what ``jobclaim verify`` runs.

::

    plan  ──▶ calls ───▶ submitters ─┐                         ┌─▶ DynamoDB   (embedded, or any plain HTTP endpoint)
      │                              ├─▶ proxies with faults ──┤
      │        workers, recovery ────┘                         └─▶ SQS
      └─────▶ schedule of faults ─▶ scheduler: kills, freezes, deploys, outages, failing requests, and messages
                                    that are copied, lost, replayed and forged

    at the end: faults stop, all jobs end, probes run without faults; evidence ─▶ checks ─▶ table and exit code

It uses only what users have: real worker processes of the installed package, the command line, `JobRepo`, and what the
bodies record themselves. It imports no internal module of jobclaim (import-linter checks that). A seed repeats the
calls and the faults, but not the run, which also depends on real processes and the kernel's scheduler.
"""
