"""What each step does next, and why. Nothing is started or written here.

    planner.py       the decision: execute, reuse, skip, fail
    references.py    parameters worked out: references, aliases, paths
    fingerprint.py   what a step's result depends on, as digests
    decision.py      the values that deciding is about
    project.py       what a step's MLproject says
    graph.py         the order that the references make

Imports config.py and below; the store is a protocol (`references.Store`), which tracking/history.py keeps.
"""
