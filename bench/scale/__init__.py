"""Scale on paper and in simulation: the figures of docs/scale.md.

``python -m bench.scale`` prints the tables, ``python -m bench.scale --write`` puts them into the document.
`paper` computes what AWS's limits ask for at a rate of jobs; `crowd` is a job table with as many jobs as one likes,
made when they are asked for; `passes` runs the real recovery on it and counts what it asks.
"""
