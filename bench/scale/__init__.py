"""Scale on paper and in simulation: the figures of docs/scale.md.

``python -m bench.scale`` prints the tables, ``python -m bench.scale --write`` puts them into the document.
`paper` computes what AWS's limits require at a rate of jobs; `crowd` is a job table with any number of jobs, generated
on access; `passes` runs the real recovery on it and counts its requests.
"""
