"""Curves of docs/scale.md: speed by processes, a recovery pass by open jobs, memory by jobs done.

``python -m bench.curves scaling``, ``sweep`` or ``memory`` measures and prints one; ``--write`` keeps its results in
``bench/results/curves.json`` and draws its picture and its table. ``python -m bench.curves draw`` only draws.
"""
