"""MLflow's tracking store: all of the orchestrator's reading and writing there.

    reach.py        whether anybody listens there; without MLflow
    store.py        opens the store and the experiment that the environment names
    history.py      reads: earlier results, whether they are whole; the planner's `Store`
    recorder.py     writes: the records of this pipeline run and its steps
    retention.py    what nothing refers to any more
    remote_run.py   the run of a step that one machine does for another
    artifacts.py    where a run's artifacts are, and their digests
    tags.py         the tags that carry results and fingerprints
    liveness.py     whether a pipeline that is RUNNING there is alive
    provenance.py   who and what started a run

Imports planning/ and below.
"""
