"""`jobclaim demo`: one scenario on real processes, with a verdict from evidence that can fail.

`stage` starts the processes, `story` runs the scenario, `ledger` collects the evidence, `verdict` checks it.
"""
