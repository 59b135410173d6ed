"""config.yaml as a pipeline of Kubeflow: the same graph, and, run by kfp.local, the same files."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from deploy.kubeflow.component import Interface, executor_output
from pipeline.config import parse
from pipeline.execution.runner import Outcome
from pipeline.planning.decision import Result
from pipeline.states import State
from tests.conftest import ROOT
from tests.pipeline.conftest import Toy
from tests.test_pipeline import QUICK, STEPS

PYTHON = ROOT / ".venv" / "kubeflow" / "bin" / "python"
needs_kfp = pytest.mark.skipif(not PYTHON.is_file(), reason="kfp is not installed here: make .venv/kubeflow/ready")
COUNT = 100  # random pipelines
COMPILE_ALL = """
import json, sys
from google.protobuf import json_format
from deploy.kubeflow.compile import compiled

environ = {"MLFLOW_TRACKING_URI": "http://tracking:5000"}
specs = [compiled(asked, "pipeline", environ).pipeline_spec for asked in json.load(sys.stdin)]
json.dump([json_format.MessageToDict(spec) for spec in specs], sys.stdout)
"""


def compile_all(asked: list[dict]) -> list[dict]:
    """All of them in one process: importing kfp takes longer than compiling a pipeline."""
    command = [PYTHON, "-c", COMPILE_ALL]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, cwd=ROOT)
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
    names = draw.sample(
        ["a", "b c", "b-c", "b.c", "B_c", "é", "1", "class", "a_b", "run_id", "x" * 80], draw.randint(2, 9)
    )
    blocks: dict[str, dict] = {}
    for place, name in enumerate(names):
        before = names[:place]
        forms = (
            "${{artifact:{},out.csv}}",
            "${{artifact:{},model}}",
            "${{metric:{},m 1}}",
            "${{model:m@champion,{},model}}",
        )
        read = draw.sample(before, draw.randint(0, min(3, place)))
        parameters = {f"p{n}": draw.choice(forms).format(other) for n, other in enumerate(read)}
        blocks[name] = {"parameters": {**parameters, "Text": draw.choice(["", "1", "a {b} 'c'"])}}
        if before and draw.random() < 0.4:
            blocks[name]["when"] = draw.choice(["${{metric:{},ok}}", "${{metric:{},m 1}}", "1"]).format(
                draw.choice(before)
            )
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
        return set().union(
            *(of_output(spec_of_task["dag"], s["producerSubtask"], s["outputParameterKey"]) for s in sources)
        )

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
    arguments = {key: set[str]() for key in root.get("inputDefinitions", {}).get("parameters", {})}
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


# What a component asks for, and tells -------------------------------------------------------------------------------


@needs_kfp
@pytest.mark.integration
def test_a_component_asks_for_what_its_step_does():
    train = {
        "parameters": {"data": "${artifact:clean,out.csv}", "seed": "0"},
        "retries": 3,
        "retry_pause": 5,
        "backend_config": {"cpus_per_task": 8, "mem": "4G", "gpus": "a100:2"},
    }
    score = {"parameters": {"model": "${artifact:train,model}", "notes": "${artifact:train,notes.md}"}}
    score["backend_config"] = {"cpu": "500m", "memory": "2Gi"}
    steps = {"clean": {"backend": "slurm", "backend_config": {"partition": "cpu"}}, "train": train, "score": score}
    [spec] = compile_all([asked_for(steps, backend_config={"mem": 512})])
    executors = spec["deploymentSpec"]["executors"]
    resources = {name.removeprefix("exec-"): e["container"]["resources"] for name, e in executors.items()}
    assert resources["clean"]["resourceMemoryLimit"] == "512Mi"
    assert resources["train"]["resourceCpuLimit"] == "8"
    assert resources["train"]["resourceMemoryLimit"] == "4Gi"
    assert (resources["score"]["resourceCpuLimit"], resources["score"]["resourceMemoryLimit"]) == ("500m", "2Gi")
    accelerator = resources["train"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "2")
    assert spec["root"]["inputDefinitions"]["parameters"]["train_seed"]["defaultValue"] == "0"
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["train"]["retryPolicy"]["maxRetryCount"] == 3
    assert not any(task["cachingOptions"] for task in tasks.values()), "what is reused, our fingerprints say"
    artifacts = spec["components"]["comp-train"]["outputDefinitions"]["artifacts"]
    types = {name: artifact["artifactType"]["schemaTitle"] for name, artifact in artifacts.items()}
    assert types == {"model": "system.Model", "notes_md": "system.Artifact", "metrics": "system.Metrics"}
    for executor in executors.values():
        assert executor["container"]["image"] == "pipeline"
        assert executor["container"]["env"] == [{"name": "MLFLOW_TRACKING_URI", "value": "http://tracking:5000"}]


@needs_kfp
@pytest.mark.integration
@pytest.mark.parametrize(
    ("arguments", "asked", "said"),
    [
        ("http://me:secret@tracking", asked_for({"a": {}}), "MLFLOW_TRACKING_URI holds a secret"),
        (
            "http://tracking",
            asked_for({"a": {}}, backend_config={"mem": "much"}),
            "a: mem='much' in backend_config is no",
        ),
    ],
)
def test_what_cannot_be_compiled_is_told_in_a_sentence(arguments, asked, said, tmp_path):
    command = [
        PYTHON,
        "-m",
        "deploy.kubeflow.compile",
        tmp_path / "out.yaml",
        "--image=i",
        f"--tracking-uri={arguments}",
    ]
    done = subprocess.run(command, input=json.dumps(asked), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert len(done.stderr.splitlines()) == 1


def executor_input(*artifacts: str) -> dict:
    """What Kubeflow says of where a task's outputs go."""
    lists = {name: {"artifacts": [{"name": name, "uri": f"s3://bucket/{name}"}]} for name in artifacts}
    return {"outputs": {"artifacts": lists, "outputFile": "output.json"}}


def test_kubeflow_is_told_of_files_at_mlflows_addresses_and_of_finite_metrics():
    result = Result("a", "1234", {"model": "digest"}, {"mae": 2.5, "r2": float("nan"), "flag": 0.0})
    interface = Interface(
        "a", artifacts={"x": "model", "y": "model/MLmodel"}, conditions={"f": "flag", "r": "r2", "n": "no"}
    )
    told = executor_output(interface, executor_input("x", "y", "metrics"), Outcome("a", State.EXECUTED, result=result))
    assert told["parameterValues"] == {"run_id": "1234", "f": False, "r": True, "n": True}
    found = {name: artifact_list["artifacts"][0] for name, artifact_list in told["artifacts"].items()}
    assert (found["x"]["uri"], found["x"]["metadata"]) == ("runs:/1234/model", {"sha256": "digest"})
    assert found["y"]["uri"] == "runs:/1234/model/MLmodel"
    assert found["metrics"]["metadata"] == {"mae": 2.5, "flag": 0.0}


def test_a_skipped_step_has_no_run_and_settles_conditions_with_no():
    told = executor_output(Interface(conditions={"f": "flag"}), executor_input(), None)
    assert told == {"parameterValues": {"run_id": "", "f": False}, "artifacts": {}}


# Run by kfp.local -----------------------------------------------------------------------------------------------------


def run_locally(folder: Path, uri: str, overrides: list[str], **given: str) -> subprocess.CompletedProcess:
    """Compile a project's pipeline with the overrides, and run it with these parameters."""
    environ = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    options = {"cwd": folder, "env": environ, "capture_output": True, "text": True}
    asked = subprocess.run(["python", "-m", "deploy.kubeflow.composed", *overrides], **options)
    assert asked.returncode == 0, asked.stderr
    command = [PYTHON, "-m", "deploy.kubeflow.compile", "pipeline.yaml", "--image=pipeline", f"--tracking-uri={uri}"]
    done = subprocess.run(command, input=asked.stdout, **options)
    assert done.returncode == 0, done.stderr
    pairs = [f"{name}={value}" for name, value in given.items()]
    done = subprocess.run([PYTHON, "-m", "deploy.kubeflow.local", "pipeline.yaml", *pairs], **options)
    print(done.stdout, done.stderr, sep="\n")
    return done


@needs_kfp
@pytest.mark.integration
def test_the_shipped_pipeline_makes_the_same_files(
    run, project, manifest, empty_store, tmp_path, monkeypatch, passenger_list
):
    command = ("python", "main.py", f"data_url={passenger_list}", f"steps={STEPS}", *QUICK.split())
    assert run(*command, "training.model=logistic_regression").code == 0
    here, files = manifest()["steps"], {f.name: f.read_bytes() for f in (project / "outputs").glob("*.csv")}
    shutil.rmtree(project / "outputs")

    shutil.copy(empty_store, tmp_path / "other.db")
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    given = {"data_download_data_url": str(passenger_list), "training_model": "logistic_regression"}
    done = run_locally(project, uri, [f"steps={STEPS}", *QUICK.split()], **given)
    assert done.returncode == 0, done.stderr
    assert {f.name: f.read_bytes() for f in (project / "outputs").glob("*.csv")} == files
    for kind, path in (("Dataset", "clean_data.csv"), ("Model", "model"), ("Dataset", "predictions.csv")):
        assert re.search(rf"{kind}\( name='\w+',\s+uri='runs:/\w+/{path}',\s+metadata={{'sha256': ", done.stdout)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert run(*command, "training.model=logistic_regression").code == 0
    there = manifest()["steps"]
    assert {step["state"] for step in there.values()} == {"reused"}, "what Kubeflow made is as good at home"
    assert {n: step["outputs"] for n, step in there.items()} == {n: step["outputs"] for n, step in here.items()}
    outputs = sum(len(step["outputs"]) for step in there.values())
    print(f"{outputs} of {outputs} outputs are equal")


GATE = """
import sys
import mlflow

with mlflow.start_run():
    mlflow.log_metric("open", float(sys.argv[sys.argv.index("--text") + 1]))
"""


@needs_kfp
@pytest.mark.integration
def test_a_condition_that_does_not_hold_skips_its_step_and_those_that_read_it(store, tmp_path):
    (tmp_path / "toy").mkdir()
    toy = Toy(tmp_path / "toy", store)
    toy.step("gate")
    (toy.folder / "gate" / "run.py").write_text(GATE)
    toy.step("guarded", when="${metric:gate,open}")
    toy.step("reader", reads="guarded")
    toy.step("last", after=["reader"])
    shutil.copytree(ROOT / "deploy" / "kubeflow", toy.folder / "deploy" / "kubeflow")
    (toy.folder / "MLproject").write_text("name: toy")

    assert run_locally(toy.folder, toy.uri, ["gate.text=1"], gate_text="0").returncode == 0
    assert executed(toy) == ["gate", "last"]

    toy.step("guarded", when="${metric:gate,open}", parameters={"do": "fail:no luck"})
    done = run_locally(toy.folder, toy.uri, ["gate.text=1"])
    assert done.returncode == 1, "with another parameter, the condition holds"
    assert "guarded failed: no luck" in done.stdout
    assert executed(toy) == ["gate", "gate", "last"]


def executed(toy: Toy) -> list[str]:
    """The steps of all runs that ended well."""
    tags = [run.data.tags for run in toy.runs()]
    assert all("kubeflow.run" in one for one in tags if "pipeline.steps" in one)
    return sorted(one["pipeline.step"] for one in tags if one.get("pipeline.state") == "executed")
