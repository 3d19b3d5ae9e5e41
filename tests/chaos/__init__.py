"""Chaos on real processes: what jobclaim promises, while everything that can go wrong does.

::

    plan  ──▶ calls ───▶ submitters ─┐                         ┌─▶ DynamoDB Local
      │                              ├─▶ proxies with weather ─┤
      │        workers, recovery ────┘                         └─▶ ElasticMQ
      └─────▶ strikes ─▶ monkey: kills, freezes, deploys, outages, storms

    at the end: faults stop, all drains, evidence ─▶ verdict ─▶ table and exit code

``python -m tests.chaos --minutes 20 --jobs 20000 --seed 1``. A seed gives the same calls and the same strikes, not the
same run: real processes and the kernel's scheduler have a say too. The simulation in ``tests/simulation`` replays.
"""
