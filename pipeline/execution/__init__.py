"""Steps in processes of their own.

    runner.py                  the loop: what is ready is started, what ended is settled; knows no process and no store
    executor.py                the runner's hands: starts a step, and closes its record when it ends
    launcher.py                starts processes: forks of the fork server, or fresh interpreters
    fork_server.py             a process with the imports done, which forks the steps
    worker.py                  what goes on in a step's process: `mlflow.run`
    prewarming.py              interpreters of the steps' own environments, started ahead; prewarmed_interpreter.py is
                               the program that they run
    environ.py                 its environment variables
    snapshot.py                its code, packed
    jobs.py                    steps as jobs of a cluster, which call pipeline/remote.py there; slurm.py, kubernetes.py
                               are two kinds of it, slurm_backend.py is `mlflow run --backend slurm`
    task.py, processes.py      what a step's process is told; ending processes with all that they started
    disposal.py                what nobody needs any more is removed: runs, environments
    mlflow_internals.py        all that leans on MLflow's private parts

Imports tracking/ and below.
"""
