"""The pipeline: compose the configuration, plan, run each step with `mlflow.run`, report.

`run_application` composes config.yaml and the overrides, and calls `main` with what came of it: once, with --multirun
once for each combination. Each call below hands its result to the next; `session` holds what they share.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.application import run_application

if TYPE_CHECKING:
    from pipeline.cli.composing import Composed
    from pipeline.session import Session


def main(composed: "Composed", session: "Session") -> int:
    """One pipeline run; 0: done, 1: a step failed. What cannot be done is refused (2) before anything is started."""
    request = composed.request()
    plan = session.plan(request)
    if request.dry_run:
        return session.show(plan)
    run = session.run(plan)
    return session.report(run)


if __name__ == "__main__":
    run_application(main, Path(__file__).resolve().parent, sys.argv[1:])
