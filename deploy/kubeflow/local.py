"""Run a compiled pipeline here, without a cluster: `python -m deploy.kubeflow.local FILE.yaml [NAME=VALUE …]`.

By kfp.local, one task after the other, in the project's folder; `python` on the PATH is the project's. Exit code 1: a
task failed, or could not begin.
"""

import sys
import warnings
from pathlib import Path

from kfp import components, local
from kfp.dsl import component_factory

ROOT = Path("build", "kubeflow-local")  # what kfp keeps of its tasks


def main(arguments: list[str]) -> int:
    if not arguments or not all("=" in one for one in arguments[1:]):
        print(__doc__, file=sys.stderr)
        return 2
    file, *given = arguments
    # As a process of its own kfp.local runs only what is made of a Python function, which it knows by this name.
    component_factory.EXECUTOR_MODULE = "deploy.kubeflow.component"
    warnings.filterwarnings("ignore", message="You may be attemping")  # to run without the image: that is meant
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(ROOT), raise_on_error=True)
    try:
        components.load_component_from_file(file)(**dict(pair.split("=", 1) for pair in given))
    except (OSError, RuntimeError, TypeError) as error:  # no such file, a task that failed, a parameter that is none
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
