"""The orchestrator: plans and runs a graph of MLflow projects. It knows MLflow and graphs, and nothing of the data.

    cli/         the front door: what was typed becomes configurations, and what came of it an exit code
    session.py   plan, run, report: the steps of main.py's story, made of the wings below
    reporting/   what people and programs are told
    execution/   steps in processes of their own
    tracking/    MLflow's tracking store: what earlier runs left there, and the records of this one
    planning/    what each step does next, and why
    config.py    config.yaml as typed values      files.py, states.py, errors.py    what all of them use

Imports go downwards in this list (`make lint` checks it).
"""
