"""A deterministic simulation: the real job and recovery code on a modelled DynamoDB and SQS, under seeded faults.

::

    submitters, workers, recovery, people      greenlets, one per process   (actors)
        JobRepo, rescue, sweep, FleetRecords   the real code
            Line                               latency, faults, crashes     (line)
                Database, Queues               what AWS promises, no more   (dynamodb, queues)
                    Oracle                     looks at every write         (oracle)

Everything that is random comes from the seed, so a seed that fails fails again:
``python -m tests.simulation --seed N``.
"""
