"""The pipeline: compose the configuration, plan, run each step with `mlflow.run`, report."""

import gc
import sys
from pathlib import Path

from pipeline.cli.application import application, leave
from pipeline.config import parse

ROOT = Path(__file__).resolve().parent
ARGUMENTS = sys.argv[1:]


def main(config, sweep, began) -> int:
    """Do what the configuration asks for; 0: done, 1: a step failed, 2: refused, and nothing was started."""
    from pipeline.session import Session

    request = parse(config.values, config.used)
    with Session(request, ROOT, ARGUMENTS, sweep, began) as session:
        session.plan()
        if request.dry_run:
            return session.show_plan()
        session.run(config.text)
        return session.close_record()


if __name__ == "__main__":
    gc.disable()  # a quarter of the time that imports take; turned on again before anything runs
    leave(application(main, ROOT, ARGUMENTS))
