"""What a component of Kubeflow runs: one step of the pipeline, as main.py does it, on the runs that it is told of.

    python -m deploy.kubeflow.component INTERFACE KUBEFLOW_RUN EXECUTOR_INPUT

In the project's folder, in its environment: kfp is not needed. INTERFACE is an `Interface` and EXECUTOR_INPUT what
Kubeflow says of the task's inputs and of where its outputs are told, both as JSON. The step's run is made, its inputs
are those of the upstream steps' runs, and what it came to is a run of the tracking store like any other, so that it is
reused where nothing changed, whoever made it. An empty step stands for one that its condition leaves out.
"""

import copy
import functools
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.cli.application import run_application
from pipeline.files import PROJECT, write_atomically

if TYPE_CHECKING:
    from pipeline.cli.composing import Composed
    from pipeline.config import Request
    from pipeline.execution.runner import Outcome
    from pipeline.session import Session

RUN_ID, METRICS = "run_id", "metrics"  # outputs that every component has
KUBEFLOW_RUN = "kubeflow.run"  # tag on a pipeline run: the one of Kubeflow that it is part of


@dataclass(frozen=True)
class Interface:
    """A component's inputs and outputs, by the names that Kubeflow has for them, and what they are to a step."""

    step: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)  # input -> the step's parameter
    upstream: Mapping[str, str] = field(default_factory=dict)  # input -> the step whose run it names, "" if skipped
    conditions: Mapping[str, str] = field(default_factory=dict)  # output -> the metric that others ask for
    artifacts: Mapping[str, str] = field(default_factory=dict)  # output -> the artifact's path
    overrides: tuple[str, ...] = ()  # of config.yaml, as typed


def main(arguments: list[str]) -> None:
    interface, kubeflow_run = Interface(**json.loads(arguments[0])), arguments[1]
    executor_input = json.loads(arguments[2])
    if interface.step:
        do = functools.partial(run_step, interface, kubeflow_run, executor_input)
        run_application(do, PROJECT, [*interface.overrides, "journal=false"])
    write_output(executor_input, executor_output(interface, executor_input, None))


def run_step(
    interface: Interface,
    kubeflow_run: str,
    executor_input: Mapping[str, Any],
    composed: "Composed",
    session: "Session",
) -> int:
    """What main.py does, with the one step; and tell Kubeflow what came of it, unless it failed."""
    inputs = executor_input.get("inputs", {}).get("parameterValues", {})
    plan = session.plan(request_of(interface, inputs, composed))
    run = session.run(plan)
    with plan.recorder.store.told():
        plan.recorder.client.set_tag(plan.recorder.run_id, KUBEFLOW_RUN, kubeflow_run)
    code = session.report(run)
    if not code:
        write_output(executor_input, executor_output(interface, executor_input, run.outcomes[interface.step]))
    return code


def request_of(interface: Interface, inputs: Mapping[str, str], composed: "Composed") -> "Request":
    """What the step is asked for: here, once, with the parameters and upstream runs that Kubeflow hands over."""
    values = copy.deepcopy(composed.values)
    block = values["pipeline"][interface.step] or {}
    given = {name: inputs[key] for key, name in interface.parameters.items()}
    block |= {"parameters": {**(block.get("parameters") or {}), **given}, "backend": "local", "retries": 0}
    values["pipeline"][interface.step] = block
    values |= {"steps": [interface.step], "from": "", "to": ""}
    asked = replace(
        composed,
        values=values,
        text=yaml.safe_dump(values, sort_keys=False, allow_unicode=True),
        overrides=(f"steps={interface.step}", *interface.overrides),
    )
    return replace(asked.request(), upstream_runs={step: inputs[key] for key, step in interface.upstream.items()})


def executor_output(
    interface: Interface, executor_input: Mapping[str, Any], outcome: "Outcome | None"
) -> dict[str, Any]:
    """What Kubeflow is told of a step that ended well, or was skipped, in the form of its ExecutorOutput."""
    from pipeline.planning.planner import is_true

    result = outcome.result if outcome else None
    metrics = result.metrics if result else {}
    outputs, artifacts = result.outputs if result else {}, {}
    # Whoever asks for a metric that the step did not leave is to say so itself, as at home.
    conditions = {
        key: bool(result) and is_true(str(metrics.get(name, True))) for key, name in interface.conditions.items()
    }
    for key, artifact_list in executor_input["outputs"].get("artifacts", {}).items():
        artifact = artifact_list["artifacts"][0]
        if key == METRICS and metrics:
            artifact["metadata"] = {name: value for name, value in metrics.items() if math.isfinite(value)}
        elif result and (path := interface.artifacts.get(key, "")).split("/")[0] in outputs:
            artifact["uri"] = f"runs:/{result.run_id}/{path}"
            artifact["metadata"] = {"sha256": outputs[path]} if path in outputs else {}
        artifacts[key] = {"artifacts": [artifact]}
    return {"parameterValues": {RUN_ID: result.run_id if result else "", **conditions}, "artifacts": artifacts}


def write_output(executor_input: Mapping[str, Any], output: Mapping[str, Any]) -> None:
    """Tell Kubeflow."""
    file = Path(executor_input["outputs"]["outputFile"])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(output, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
