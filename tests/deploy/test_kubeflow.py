"""config.yaml as a pipeline of Kubeflow: the same graph, and, run by kfp.local, the same files."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
import pytest

from deploy.kubeflow.component import Interface, executor_output
from pipeline.config import parse
from pipeline.execution.runner import Outcome
from pipeline.planning.decision import Result
from pipeline.states import State
from tests.conftest import ROOT
from tests.test_pipeline import QUICK, STEPS

PYTHON = ROOT / ".venv" / "kubeflow" / "bin" / "python"
needs_kfp = pytest.mark.skipif(not PYTHON.is_file(), reason="kfp is not installed here: make .venv/kubeflow/ready")
COUNT = 100  # random pipelines


def compile_all(asked: list[dict]) -> list[dict]:
    """All of them in one process: importing kfp takes longer than compiling a pipeline."""
    command = [PYTHON, ROOT / "tests" / "deploy" / "compile_many.py"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def asked_for(pipeline: Mapping[str, Any], **settings: Any) -> dict:
    """As composed.py says it."""
    values = {"pipeline": pipeline, "steps": list(pipeline), **settings}
    return {"name": "toy", "values": values, "used": [], "overrides": []}


# The graph ---------------------------------------------------------------------------------------------------------


def random_pipeline(seed: int) -> dict:
    """Steps with odd names that read each other's files, models and metrics, wait for others, and have conditions."""
    draw = random.Random(seed)
    names = draw.sample(["a", "b c", "b-c", "b.c", "B_c", "é", "1", "class", "a_b", "run_id", "x" * 80], draw.randint(2, 9))
    blocks: dict[str, dict] = {}
    for place, name in enumerate(names):
        before = names[:place]
        forms = ("${{artifact:{},out.csv}}", "${{artifact:{},model}}", "${{metric:{},m 1}}", "${{model:m@champion,{},model}}")
        read = draw.sample(before, draw.randint(0, min(3, place)))
        parameters = {f"p{n}": draw.choice(forms).format(other) for n, other in enumerate(read)}
        blocks[name] = {"parameters": {**parameters, "Text": draw.choice(["", "1", "a {b} 'c'"])}}
        if before and draw.random() < 0.4:
            blocks[name]["when"] = draw.choice(["${{metric:{},ok}}", "${{metric:{},m 1}}", "1"]).format(draw.choice(before))
        if before and draw.random() < 0.3:
            blocks[name]["after"] = [draw.choice(before)]
        if draw.random() < 0.3:
            blocks[name]["if_skipped"] = "latest"
    listed = dict(draw.sample(list(blocks.items()), len(blocks)))  # in any order
    chosen = names if draw.random() < 0.5 else draw.sample(names, draw.randint(1, len(names)))
    return asked_for(listed, steps=chosen)


def tasks_of(spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], set[str]]]:
    """Each step's name, its inputs that upstream steps make, and the steps that it, or its condition, waits for."""

    def made_by(dag: Mapping[str, Any], scope: Mapping[str, set[str]], source: Mapping[str, Any]) -> set[str]:
        """The steps that an input comes from."""
        if key := source.get("componentInputParameter"):
            return scope[key]
        output = source.get("taskOutputParameter")
        return of_output(dag, output["producerTask"], output["outputParameterKey"]) if output else set()

    def of_output(dag: Mapping[str, Any], task: str, key: str) -> set[str]:
        """The steps that a task's output comes from; it must be one that the task says that it has."""
        spec_of_task = spec["components"][dag["tasks"][task]["componentRef"]["name"]]
        assert key in spec_of_task["outputDefinitions"]["parameters"]
        if "dag" not in spec_of_task:
            return {dag["tasks"][task]["taskInfo"]["name"]}
        output = spec_of_task["dag"]["outputs"]["parameters"][key]
        sources = output.get("valueFromOneof", {}).get("parameterSelectors") or [output["valueFromParameter"]]
        return set().union(*(of_output(spec_of_task["dag"], s["producerSubtask"], s["outputParameterKey"]) for s in sources))

    def walk(dag: Mapping[str, Any], scope: Mapping[str, set[str]], condition: set[str]) -> Iterator[Any]:
        for task in dag["tasks"].values():
            component = spec["components"][task["componentRef"]["name"]]
            given = task.get("inputs", {}).get("parameters", {})
            inputs = {key: made_by(dag, scope, source) for key, source in given.items()}
            assert inputs.keys() == component.get("inputDefinitions", {}).get("parameters", {}).keys()
            if "dag" in component:
                trigger = task.get("triggerPolicy", {}).get("condition", "")
                asked = [made for key, made in inputs.items() if key in trigger]
                yield from walk(component["dag"], inputs, condition.union(*asked))
            else:
                yield task["taskInfo"]["name"], inputs, condition.union(*inputs.values())

    root = spec["root"]
    arguments = dict.fromkeys(root.get("inputDefinitions", {}).get("parameters", {}), set())
    yield from walk(root["dag"], arguments, set())


@needs_kfp
@pytest.mark.integration
def test_the_graph_of_random_pipelines_is_ours():
    asked = [random_pipeline(seed) for seed in range(COUNT)]
    conditions = 0
    for one, spec in zip(asked, compile_all(asked), strict=True):
        request = parse(one["values"])
        found = {name: {u.removesuffix(" skipped") for u in upstream} for name, _, upstream in tasks_of(spec)}
        conditions += sum(name.endswith(" skipped") for name in found)
        theirs = {name: upstream for name, upstream in found.items() if not name.endswith(" skipped")}
        assert theirs == {n: set(request.steps[n].upstream()) & set(request.selected) for n in request.selected}
    assert conditions > COUNT / 2, "conditions are among them"
