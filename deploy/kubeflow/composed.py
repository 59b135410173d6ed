"""What config.yaml and overrides ask for, as JSON for compile.py: `python -m deploy.kubeflow.composed [OVERRIDE …]`.

By the project's own environment: Hydra is not in that of kfp. What main.py would refuse at once is refused here.
"""

import json
import sys
import tempfile
from pathlib import Path

from pipeline import yaml_reading
from pipeline.cli.composing import compose
from pipeline.errors import RequestError
from pipeline.files import PROJECT
from pipeline.planning.graph import order
from pipeline.planning.project import load_all


def main(arguments: list[str]) -> int:
    try:
        [composed] = compose(PROJECT, list(arguments))
        request = composed.request()
        steps = [request.steps[name] for name in order(request.steps) if name in request.selected]
        with tempfile.TemporaryDirectory() as clones:
            load_all(steps, PROJECT, Path(clones))
    except RequestError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    asked = {
        "name": yaml_reading.read(PROJECT / "MLproject", "MLproject")["name"],
        "values": composed.values | {"steps": list(request.selected), "from": "", "to": ""},
        "used": composed.used,
        "overrides": arguments,
    }
    json.dump(asked, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
