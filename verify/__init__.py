"""Test the guarantees of `docs/guarantees.md` from outside: what ``jobclaim verify`` runs.

::

    plan  ──▶ calls ───▶ submitters ─┐                         ┌─▶ DynamoDB   (embedded, or any plain HTTP endpoint)
      │                              ├─▶ proxies with faults ──┤
      │        workers, recovery ────┘                         └─▶ SQS
      └─────▶ strikes ─▶ monkey: kills, freezes, deploys, outages, storms, messages copied, lost, old and forged

    at the end: faults stop, all jobs end, probes run without faults; evidence ─▶ promises ─▶ table and exit code

It uses only what users have: real worker processes of the installed package, the command line, `JobRepo`, and what the
bodies record themselves. It imports no internal module of jobclaim (import-linter checks that). A seed repeats the
calls and the strikes, but not the run, which also depends on real processes and the kernel's scheduler.
"""
