"""Compile what composed.py says on standard input to a pipeline of Kubeflow: `make kubeflow`.

A component for each step, which runs component.py in the project's image. Between them goes what names a step's run:
Kubeflow would try to download an artifact that is an input, and knows no address of MLflow's. What a step makes is
there as typed artifacts with MLflow's addresses, its metrics as Metrics, and what its parameters are set to are the
pipeline's. A condition is dsl.If; those that read what it leaves out are told of a run that is not there, and say what
becomes of them, as at home.

In an environment of its own (requirements-kubeflow.lock), which has kfp; of ours it takes what needs no package.
"""

import argparse
import functools
import inspect
import json
import keyword
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from kfp import compiler, dsl
from kfp.dsl.graph_component import GraphComponent
from kfp.dsl.pipeline_channel import PipelineChannel

from deploy.kubeflow.component import METRICS, RUN_ID, Interface
from pipeline.config import REFERENCE, Reference, Request, Step, parse, references
from pipeline.credentials import found_in
from pipeline.errors import RequestError
from pipeline.planning.graph import order

TABLES = {".csv", ".jsonl", ".parquet", ".tsv"}
MEMORY = re.compile(r"(\d+)([KMGT]?)B?", re.IGNORECASE)  # as Slurm has it: in mebibytes where it does not say
# What is asked of Kubernetes, and what a step's backend_config has for it, for Kubernetes and for Slurm.
RESOURCES = {"cpu": ("cpu", "cpus_per_task"), "memory": ("memory", "mem"), "gpus": ("gpus",)}
TRACKING_URI = "MLFLOW_TRACKING_URI"
CONDITION = "condition"


class Names:
    """Names that Kubeflow and Python take, no two the same."""

    def __init__(self, *taken: str):
        self.taken = set(taken)

    def __call__(self, text: str) -> str:
        """One that is like `text`."""
        name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
        name = name if name[:1].isalpha() and not keyword.iskeyword(name) else f"x_{name}"
        number = 1
        while (found := name if number == 1 else f"{name}_{number}") in self.taken:
            number += 1
        self.taken.add(found)
        return found


def compiled(asked: Mapping[str, Any], image: str, environ: Mapping[str, str]) -> GraphComponent:
    """The pipeline that `asked`, of composed.py, is for Kubeflow; its components run in `image` with these variables.

    Raises:
        RequestError: a step asks for memory in a form that nobody knows.
    """
    request = parse(asked["values"], asked["used"])
    steps = [request.steps[name] for name in order(request.steps) if name in request.selected]
    interfaces = {step.name: interface_of(step, request, asked["overrides"]) for step in steps}
    common = asked["values"].get("backend_config") or {}
    limits = {step.name: limits_of(step.name, {**common, **step.backend_config}) for step in steps}
    name = Names()
    inputs = {(step.name, p): name(f"{step.name} {p}") for step in steps for p in literals(step)}

    def build(*channels: PipelineChannel) -> None:
        given = dict(zip(inputs, channels, strict=True))
        outputs: dict[str, Mapping[str, Any]] = {}  # of each step so far
        for step in steps:
            interface, when = interfaces[step.name], condition_of(step, request)
            values = {key: given[step.name, p] for key, p in interface.parameters.items()}
            values |= {key: outputs[upstream][RUN_ID] for key, upstream in interface.upstream.items()}
            if when:
                # An input of the step, too: Kubeflow would not find it if nothing but a condition named it.
                metrics = {metric: key for key, metric in interfaces[when.step].conditions.items()}
                values[CONDITION] = outputs[when.step][metrics[when.name]]
            made = functools.partial(task, step, interface, image, values, limits[step.name], environ)
            outputs[step.name] = guarded(made, values[CONDITION], interface, image) if when else made().outputs

    parameters = {key: (str, request.steps[step].parameters[p]) for (step, p), key in inputs.items()}
    build.__signature__ = signature(parameters)  # type: ignore[attr-defined] # where inspect looks first
    return dsl.pipeline(name=re.sub(r"[^a-z0-9]+", "-", asked["name"].lower()).strip("-"))(build)


def task(
    step: Step,
    interface: Interface,
    image: str,
    values: Mapping[str, Any],
    limits: Mapping[str, str],
    environ: Mapping[str, str],
) -> dsl.PipelineTask:
    """A step's task, done each time: what is reused, and when, its fingerprint says."""
    made = component(interface, image, values)(**values)
    made.set_display_name(step.name).set_caching_options(False)
    for variable, value in environ.items():
        made.set_env_variable(variable, value)
    if step.retries:
        made.set_retry(step.retries, backoff_duration=f"{max(1, round(step.retry_pause))}s", backoff_factor=2)
    if cpus := limits.get("cpu"):
        made.set_cpu_request(cpus).set_cpu_limit(cpus)
    if memory := limits.get("memory"):
        made.set_memory_request(memory).set_memory_limit(memory)
    if gpus := limits.get("gpus"):
        made.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    return made


def guarded(
    made: Callable[[], dsl.PipelineTask], condition: PipelineChannel, interface: Interface, image: str
) -> dict[str, PipelineChannel]:
    """The outputs of a task that is made under a condition only."""
    with dsl.If(condition == True, name=f"when {interface.step}"):  # noqa: E712 - which makes a condition of kfp's
        run = made()
    with dsl.Else(name=f"skip {interface.step}"):
        skipped = component(Interface(conditions=interface.conditions), image, {})()
        skipped.set_display_name(f"{interface.step} skipped").set_caching_options(False)
    return {key: dsl.OneOf(run.outputs[key], skipped.outputs[key]) for key in (RUN_ID, *interface.conditions)}


def component(interface: Interface, image: str, inputs: Iterable[str]) -> Callable[..., dsl.PipelineTask]:
    """A container component that runs component.py."""

    def container(*_: Any) -> dsl.ContainerSpec:
        told = json.dumps({key: value for key, value in asdict(interface).items() if value}, ensure_ascii=False)
        places = [dsl.PIPELINE_JOB_ID_PLACEHOLDER, dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER]
        command = ["python", "-m", "deploy.kubeflow.component"]
        return dsl.ContainerSpec(image=image, command=command, args=[told, *places])

    outputs: dict[str, Any] = {RUN_ID: dsl.OutputPath(str)}
    outputs |= {key: dsl.OutputPath(bool) for key in interface.conditions}
    if interface.step:
        outputs |= {METRICS: dsl.Output[dsl.Metrics]}
        outputs |= {key: dsl.Output[artifact_type(path)] for key, path in interface.artifacts.items()}
    types = {key: bool if key == CONDITION else str for key in inputs} | outputs
    container.__name__ = Names()(interface.step or "skipped")
    container.__signature__ = signature({key: (kind,) for key, kind in types.items()})  # type: ignore[attr-defined]
    made: Callable[..., dsl.PipelineTask] = dsl.container_component(container)
    return made


def signature(parameters: Mapping[str, Sequence[Any]]) -> inspect.Signature:
    """A function's, of each parameter's type and, where it has one, default."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature(
        [
            inspect.Parameter(
                name, kind, annotation=annotation, default=default[0] if default else inspect.Parameter.empty
            )
            for name, (annotation, *default) in parameters.items()
        ]
    )


def interface_of(step: Step, request: Request, overrides: Sequence[str]) -> Interface:
    """The inputs and outputs of a step's component."""
    name = Names(RUN_ID, METRICS, CONDITION)
    conditions = [condition_of(request.steps[other], request) for other in request.selected]
    read = [r for other in request.steps.values() for _, r in other.references()] + list(request.outputs)
    return Interface(
        step.name,
        artifacts={name(a): a for a in unique(r.name for r in read if r.step == step.name and r.kind != "metric")},
        conditions={name(m): m for m in unique(r.name for r in conditions if r and r.step == step.name)},
        parameters={name(p): p for p in literals(step)},
        upstream={name(f"{u} {RUN_ID}"): u for u in step.upstream() if u in request.selected},
        overrides=tuple(overrides),
    )


def unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def literals(step: Step) -> list[str]:
    """The parameters that are set to something that no other step makes."""
    return [name for name, value in step.parameters.items() if not references(value)]


def condition_of(step: Step, request: Request) -> Reference | None:
    """The metric that a step's condition is; None where there is none, or one that the step's component looks at."""
    match = REFERENCE.fullmatch(step.when.strip())
    reference = references(match[0])[0] if match else None
    return reference if reference and reference.kind == "metric" and reference.step in request.selected else None


def artifact_type(path: str) -> Any:
    """What Kubeflow calls an artifact: a table by its suffix, and a folder, which is what a model is."""
    suffix = PurePosixPath(path).suffix
    return dsl.Dataset if suffix in TABLES else dsl.Artifact if suffix else dsl.Model


def limits_of(step: str, config: Mapping[str, Any]) -> dict[str, str]:
    """What a step asks of Kubernetes, by the keys of RESOURCES."""
    found = {
        name: str(config[key])
        for name, keys in RESOURCES.items()
        for key in reversed(keys)
        if config.get(key) is not None
    }
    if "memory" in found and config.get("memory") is None:
        if not (match := MEMORY.fullmatch(found["memory"])):
            raise RequestError(f"{step}: mem={found['memory']!r} in backend_config is no amount of memory; write 4G")
        found["memory"] = f"{match[1]}{(match[2] or 'M').upper()}i"
    if "gpus" in found:
        found["gpus"] = found["gpus"].rpartition(":")[2]  # a100:2
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m deploy.kubeflow.compile", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("output", metavar="FILE.yaml")
    parser.add_argument("--image", required=True)
    parser.add_argument("--tracking-uri", required=True)
    told = parser.parse_args(arguments)
    if not (text := sys.stdin.read()):
        return 2  # composed.py has said why
    try:
        if found := found_in(told.tracking_uri):
            raise RequestError(
                f"{TRACKING_URI} holds a secret ({found}), which would be compiled in; give it to the pods instead, as "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        pipeline = compiled(json.loads(text), told.image, {TRACKING_URI: told.tracking_uri})
    except RequestError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    compiler.Compiler().compile(pipeline, told.output)
    print(f"{told.output}: {len(pipeline.pipeline_spec.root.dag.tasks)} tasks, for Kubeflow Pipelines")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
