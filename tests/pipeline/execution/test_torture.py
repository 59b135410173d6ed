"""The proof of reuse: whatever is edited, reverted and killed, every output is what a run from nothing makes.

A random pipeline of small steps, each reading in some of the ways of test_reads.py; a random history of changes to what
they read; after each run the outputs are compared with those worked out here, in a few lines, from what is there now.

    PIPELINE_TORTURE=10000 python -m pytest tests/pipeline/execution/test_torture.py      so many steps (make torture)
    PIPELINE_SEED=17 …                                                                    the same again
"""

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import pytest

from tests.pipeline.conftest import Toy

pytestmark = pytest.mark.integration
STEPS = int(os.environ.get("PIPELINE_TORTURE", "200"))
SEED = int(os.environ.get("PIPELINE_SEED") or random.randrange(1 << 30))
VALUES = ("one", "two", "three")  # few, so that what was comes back
MLPROJECT = """
name: torture
entry_points:
  main:
    parameters:
      upstream: {type: path, default: ""}
      given: {type: path, default: ""}
      text: {type: string, default: ""}
      metric: {type: string, default: ""}
    command: python run.py --upstream {upstream} --given {given} --text {text} --metric {metric}
"""
STEP = """
import argparse, os, subprocess, sys, time
from pathlib import Path
import mlflow
CODE = "{code}"
OUTSIDE = Path("{outside}")
parser = argparse.ArgumentParser()
for name in ("upstream", "given", "text", "metric"):
    parser.add_argument(f"--{name}", default="")
a = parser.parse_args()
with mlflow.start_run():
    made = [CODE]
{body}
    made.append(a.text)
    if a.upstream.endswith("out.txt"):
        made.append(Path(a.upstream).read_text())
    made.append(a.metric)
    mlflow.log_text("|".join(made), "out.txt")
    mlflow.log_metric("length", len("|".join(made)) / 7)
"""
# The same without MLflow, and with something that MLflow does not import: the script server runs it.
WITHOUT_MLFLOW = {
    "import mlflow": "import json, threadpoolctl",
    "with mlflow.start_run():": 'if outputs := Path(os.environ["STEP_OUTPUTS"]):',
    'mlflow.log_text("|".join(made), "out.txt")': '(outputs / "out.txt").write_text("|".join(made))',
    'mlflow.log_metric("length", len("|".join(made)) / 7)': (
        '(outputs / "metrics.json").write_text(json.dumps({"length": len("|".join(made)) / 7}))'
    ),
}
# A way of reading -> the lines that do it. `{name}` is the step's; each reads its own file, module or variable.
WAYS = {
    "file": 'made.append((OUTSIDE / "{name}.txt").read_text())',
    "ignored": 'made.append(Path("{name}.db").read_text())',
    "module": "sys.path.insert(0, str(OUTSIDE)); import module_{name}; made.append(module_{name}.VALUE)",
    "linked": "from linked import inside_{name}; made.append(inside_{name}.VALUE)",
    "listing": 'made.append(",".join(sorted(os.listdir(OUTSIDE / "list_{name}"))))',
    "child": 'made.append(subprocess.run([sys.executable, "-c", "print(open(r\'" + str(OUTSIDE / "{name}.child") + '
    "\"').read(), end='')\"], capture_output=True, text=True, check=True).stdout)",
    "given": "made.append(Path(a.given).read_text())",
    "variable": 'made.append(os.environ["VALUE"])',
}


@dataclass
class Step:
    """A step, and what it reads now."""

    name: str
    ways: list[str]
    upstream: str = ""
    reads_metric: bool = False
    with_mlflow: bool = True
    code: str = "one"
    text: str = "one"
    values: dict[str, str] = field(default_factory=dict)  # way -> value

    def output(self, outputs: dict[str, str]) -> str:
        """What a run from nothing makes."""
        made = [self.code, *(self.values[way] for way in self.ways), self.text]
        if self.upstream:
            made.append(outputs[self.upstream])
        metric = len(outputs[self.upstream]) / 7 if self.reads_metric else None
        shown = "" if metric is None else str(int(metric)) if metric.is_integer() else repr(metric)
        return "|".join([*made, shown])


class Torture:
    """A pipeline, and changes to it."""

    def __init__(self, toy: Toy, chance: random.Random):
        self.toy, self.chance = toy, chance
        self.outside = toy.folder.parent / "outside"
        self.outside.mkdir(exist_ok=True)
        toy.config["journal"] = True
        self.steps: dict[str, Step] = {}
        for number in range(chance.randint(3, 6)):
            before = list(self.steps)
            upstream = chance.choice([*before, before[-1]]) if before and chance.random() < 0.8 else ""
            ways = chance.sample(list(WAYS), chance.randint(1, 3))
            reads_metric, with_mlflow = bool(upstream) and chance.random() < 0.3, chance.random() < 0.5
            step = Step(f"s{number}", ways, upstream, reads_metric, with_mlflow)
            self.steps[step.name] = step
            for way in ways:
                self.change(step, way)
            self.write(step)

    def change(self, step: Step, way: str) -> None:
        """Give what a step reads in this way another value, or the same again."""
        value = step.values[way] = self.chance.choice(VALUES)
        name = step.name
        if way == "listing":
            folder = self.outside / f"list_{name}"
            folder.mkdir(exist_ok=True)
            for old in folder.iterdir():
                old.unlink()
            (folder / value).touch()
            return
        folder = self.toy.folder / name
        folder.mkdir(exist_ok=True)
        if way == "linked" and not (folder / "linked").is_symlink():
            (self.outside / f"linked_{name}").mkdir()
            (folder / "linked").symlink_to(self.outside / f"linked_{name}")
        file = {
            "file": self.outside / f"{name}.txt",
            "ignored": folder / f"{name}.db",
            "module": self.outside / f"module_{name}.py",
            "linked": self.outside / f"linked_{name}" / f"inside_{name}.py",
            "child": self.outside / f"{name}.child",
            "given": self.outside / f"{name}.given",
        }.get(way)
        if file:
            text = f"VALUE = {value!r}\n" if file.suffix == ".py" else value
            if self.chance.random() < 0.5:
                file.write_text(text)  # in place, or another file in its place
            else:
                other = file.with_name(f".{file.name}")
                other.write_text(text)
                other.replace(file)

    def write(self, step: Step) -> None:
        """The step's folder and block."""
        folder = self.toy.folder / step.name
        folder.mkdir(exist_ok=True)
        body = "\n".join(f"    {WAYS[way].replace('{name}', step.name)}" for way in step.ways)
        text = STEP
        for old, new in () if step.with_mlflow else WITHOUT_MLFLOW.items():
            text = text.replace(old, new)
        text = text.replace("{code}", step.code).replace("{outside}", str(self.outside)).replace("{body}", body)
        (folder / "MLproject").write_text(MLPROJECT)
        (folder / "run.py").write_text(text)
        parameters = {"text": step.text}
        if step.upstream:
            parameters["upstream"] = f"${{artifact:{step.upstream},out.txt}}"
        if step.reads_metric:
            parameters["metric"] = f"${{metric:{step.upstream},length}}"
        if "given" in step.ways:
            parameters["given"] = str(self.outside / f"{step.name}.given")
        block = {"parameters": parameters}
        if "variable" in step.ways:
            block["env"] = {"VALUE": step.values["variable"]}
        self.toy.config["pipeline"][step.name] = block
        self.toy.save()

    def act(self) -> str:
        """One random change; what it was."""
        step = self.chance.choice(list(self.steps.values()))
        what = self.chance.choice([*step.ways, *step.ways, "code", "text", "kill", "nothing"])
        if what in WAYS:
            self.change(step, what)
        elif what in ("code", "text"):
            setattr(step, what, self.chance.choice(VALUES))
        elif what == "kill":
            process = self.toy.start(self.journal())
            time.sleep(self.chance.uniform(0, 3))  # any moment will do
            process.send_signal(self.chance.choice([signal.SIGKILL, signal.SIGTERM]))
            process.communicate()
            self.toy.wait_until_gone()
        self.write(step)
        return f"{step.name} {what}"

    def journal(self) -> str:
        """With the journal and without."""
        return f"journal={self.chance.choice(['true', 'true', 'false'])}"

    def check(self) -> None:
        """Run it; every output is what a run from nothing makes."""
        done = self.toy.run(self.journal())
        assert done.code == 0, done.err
        assert "changed while it ran" not in done.out
        outputs: dict[str, str] = {}
        manifest = self.toy.manifest()["steps"]
        for name, step in self.steps.items():
            outputs[name] = step.output(outputs)
            made = mlflow.artifacts.load_text(f"runs:/{manifest[name]['run_id']}/out.txt")
            assert made == outputs[name], f"{name} was {manifest[name]['state']}: {manifest[name]['reason']}"


def test_every_output_is_what_a_run_from_nothing_makes(toy):
    print(f"again: PIPELINE_SEED={SEED} PIPELINE_TORTURE={STEPS}")
    chance, seen, reused, runs = random.Random(SEED), 0, 0, 0
    while seen < STEPS:
        for name in list(toy.config["pipeline"]):
            del toy.config["pipeline"][name]
        folder = Path(toy.folder.parent, f"toy{runs}")
        toy.folder.rename(folder)
        toy.folder = folder
        for old in folder.glob("s[0-9]"):
            for link in old.glob("linked"):
                link.unlink()
        outside = folder.parent / "outside"
        if outside.exists():
            outside.rename(folder.parent / f"outside{runs}")
        torture = Torture(toy, chance)
        history = ["from nothing"]
        for _ in range(8):
            try:
                torture.check()
            except AssertionError:
                print(f"seed {SEED}, after: {', '.join(history)}")
                raise
            runs += 1
            states = list(toy.states().values())
            seen, reused = seen + len(states), reused + states.count("reused")
            history += [torture.act() for _ in range(chance.randint(0, 2))]
    print(f"{seen} steps in {runs} runs, {reused} of them reused, none wrong; seed {SEED}")
    assert 0.2 < reused / seen < 0.95, "nothing would be proved"
