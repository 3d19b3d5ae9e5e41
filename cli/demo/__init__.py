"""`jobclaim demo`: one story on real processes, told from evidence, with a verdict that can fail.

`stage` sets up processes, `story` lets things happen to them, `ledger` collects the evidence, `verdict` judges it.
"""
