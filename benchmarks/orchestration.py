"""How long the orchestration takes: the same four steps under several tools, as multiples of one plain process.

    python benchmarks/orchestration.py [--repeats 5] [--write] [--managed] [--tools FOLDER] [--only "python main.py" …]

Each tool has a folder and an SQLite store of its own. All of them do their first run in turn, then the same again,
then with training's seed changed; and that as often as --repeats says, after one round that is not counted (it leaves
byte-code and warm file caches behind). For each first run the folder's outputs are removed, and the store is a fresh
copy of an empty one, so that the making of MLflow's tables (about a second, once in a store's life) is not in it.
--tools adds DVC and Kedro, from an environment that holds them and what the scripts need (`uv venv FOLDER`, `uv pip
install --python FOLDER dvc kedro pandas scikit-learn skops`). --managed adds those with `uv`, whose environments the
uncounted round builds (some minutes the first time).
"""

import argparse
import csv
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from results import HERE, REAL_LIST, ROOT, SAMPLE, environment, machine, table, verdict, write_section

FIRST, SAME, CHANGED = COLUMNS = ("first run", "nothing changed", "only training's parameter changed")
STEPS = ["data_download", "data_cleaning", "training", "inference"]
FOREST = ["training.model=random_forest", "training.n_estimators=200", "training.cv_repeats=0", "training.plots=false"]
MUST = dict(zip(COLUMNS, (2.0, 0.25, 1.8), strict=True))
AIM = dict(zip(COLUMNS, (2.0, 0.15, 1.8), strict=True))
MANAGED_MUST = 5.5
WATCH_MUST = 1.0
FLOOR, SCRIPTS, NAIVE = (
    "one plain process (the floor)",
    "four Python scripts from bash",
    "MLflow as everybody writes it",
)
OURS, SPAWN, THROUGH = "ours, `python main.py`", "ours, start_method=spawn", "ours, `mlflow run . --env-manager local`"
DVC, KEDRO, WATCH = (
    "DVC, `dvc repro`",
    "Kedro, `kedro run`",
    "ours, `--watch`, from saving training/run.py to the summary",
)
OURS_MANAGED = "ours, `python main.py env_manager=uv`"
EMPTY, MANAGED = "an empty project's `mlflow run`", "ours, `mlflow run . --env-manager uv`"
MANAGED_TOOLS = (OURS_MANAGED, MANAGED)
LEFT_OUT = ("__pycache__", ".git", ".venv", "outputs", "mlruns", "mlflow.db*", ".pytest_cache", ".ruff_cache")


class WrongResult(Exception):
    """A tool ended well, but its result is not what the work should come to."""


@dataclass
class Bench:
    """Where the work is done, and on which list."""

    folder: Path
    list: Path
    rows: int
    empty_store: Path

    def store(self, folder: Path) -> None:
        """Give `folder` an empty store; nothing is left of what was recorded before."""
        shutil.rmtree(folder / "artifacts", ignore_errors=True)
        for old in folder.glob("mlflow.db*"):
            old.unlink()
        shutil.copy(self.empty_store, folder / "mlflow.db")
        with sqlite3.connect(folder / "mlflow.db") as store:
            store.execute("update experiments set artifact_location = ?", [(folder / "artifacts").as_uri()])
        store.close()


class Tool:
    """One row of the table. Its folder holds its store and whatever it writes."""

    columns = COLUMNS

    def __init__(self, name: str, bench: Bench, number: int):
        self.name, self.bench, self.folder = name, bench, bench.folder / f"tool{number}"
        self.folder.mkdir()
        self.work = self.folder  # where the command is started
        self.seconds: dict[str, list[float]] = {column: [] for column in COLUMNS}
        self.prepare()

    def prepare(self) -> None:
        """Once, before anything is measured."""

    def reset(self) -> None:
        """Before each first run."""
        self.bench.store(self.folder)

    def variables(self) -> dict[str, str]:
        """The measured process's."""
        return environment(MLFLOW_TRACKING_URI=f"sqlite:///{self.folder / 'mlflow.db'}")

    def close(self) -> None:
        """After the last run."""

    def command(self, seed: int) -> list[str]:
        raise NotImplementedError

    def check(self, column: str) -> None:
        self.predictions(self.folder / "predictions.csv")

    def predictions(self, path: Path) -> None:
        """Refuse a file that has not one sensible answer for each passenger."""
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        values = [float(row[next(name for name in row if "prob" in name.lower())]) for row in rows]
        survivors = sum(value > 0.5 for value in values)
        if len(rows) != self.bench.rows or not 0.2 < survivors / len(rows) < 0.6:
            raise WrongResult(f"{self.name}: {len(rows)} predictions for {self.bench.rows} rows, {survivors} survive")

    def run(self, column: str) -> float:
        """Do one run, check what came out, and return its wall time in seconds."""
        if column == FIRST:
            self.reset()
        log = self.folder / "log.txt"
        variables = self.variables()
        with log.open("wb") as file:
            start = time.perf_counter()
            done = subprocess.run(
                self.command(int(column == CHANGED)), cwd=self.work, env=variables, stdout=file, stderr=file
            )
            seconds = time.perf_counter() - start
        if done.returncode:
            raise WrongResult(f"{self.name}, {column}: exit code {done.returncode}\n{log.read_text()[-3000:]}")
        self.check(column)
        return seconds


class Floor(Tool):
    def reset(self) -> None:
        (self.folder / "predictions.csv").unlink(missing_ok=True)

    def command(self, seed: int) -> list[str]:
        return ["python", str(HERE / "floor.py"), str(self.bench.list), str(self.folder), str(seed)]


class Scripts(Floor):
    def command(self, seed: int) -> list[str]:
        return ["bash", str(HERE / "scripts" / "run.sh"), str(self.bench.list), str(self.folder), str(seed)]


class Naive(Tool):
    def command(self, seed: int) -> list[str]:
        given = ["-P", f"data={self.bench.list}", "-P", f"seed={seed}"]
        return ["mlflow", "run", str(HERE / "naive_mlflow"), "--env-manager", "local", *given]

    def check(self, column: str) -> None:
        found = sorted(self.folder.glob("artifacts/**/predictions.csv"), key=lambda path: path.stat().st_mtime)
        if len(found) != COLUMNS.index(column) + 1:
            raise WrongResult(f"{self.name}, {column}: {len(found)} files of predictions")
        self.predictions(found[-1])


class Empty(Tool):
    columns = (FIRST,)

    def prepare(self) -> None:
        (self.folder / "MLproject").write_text('name: empty\nentry_points:\n  main:\n    command: "true"\n')

    def command(self, seed: int) -> list[str]:
        return ["mlflow", "run", ".", "--env-manager", "local"]

    def check(self, column: str) -> None:
        """It makes nothing."""


class Ours(Tool):
    """`python main.py` in a copy of this project that is, like a user's, the work tree of a Git repository."""

    settings = ("env_manager=local",)

    def prepare(self) -> None:
        self.work = self.folder / "project"
        shutil.copytree(ROOT, self.work, ignore=shutil.ignore_patterns(*LEFT_OUT))
        git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false"]
        for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "as it is"]):
            subprocess.run([*git, *command], cwd=self.work, check=True)

    def reset(self) -> None:
        super().reset()
        shutil.rmtree(self.work / "outputs", ignore_errors=True)

    def command(self, seed: int) -> list[str]:
        steps = f"steps=[{','.join(STEPS)}]"
        return ["python", "main.py", *self.overrides(seed), *self.settings, steps, f"data_url={self.bench.list}"]

    def overrides(self, seed: int) -> list[str]:
        given = [f"inference.input={self.bench.list}", "inference.rejected="]  # a list that is clean as it comes
        return [*FOREST, *given, *([f"training.seed={seed}"] if seed else [])]

    def check(self, column: str) -> None:
        manifest = json.loads((self.work / "outputs" / "manifest.json").read_text(encoding="utf-8"))
        expected = {FIRST: STEPS, SAME: [], CHANGED: STEPS[2:]}[column]
        executed = [name for name, step in manifest["steps"].items() if step["state"] == "executed"]
        if executed != expected or manifest["status"] != "FINISHED" or list(manifest["steps"]) != STEPS:
            raise WrongResult(f"{self.name}, {column}: executed {executed}, not {expected}")
        if not 0.7 < manifest["steps"]["training"]["metrics"]["accuracy"] < 0.95:
            raise WrongResult(f"{self.name}, {column}: accuracy {manifest['steps']['training']['metrics']}")
        self.predictions(self.work / "outputs" / "predictions.csv")


class Spawn(Ours):
    settings = ("env_manager=local", "start_method=spawn")


class Watch(Ours):
    """From saving a step's code to the summary, in rounds of one process; all its time is in the last column."""

    columns = (CHANGED,)

    def run(self, column: str) -> float:
        if not hasattr(self, "process"):
            self.reset()
            variables = environment(MLFLOW_TRACKING_URI=f"sqlite:///{self.folder / 'mlflow.db'}")
            command = ["python", "main.py", "--watch", *self.command(0)[2:]]
            self.process = subprocess.Popen(
                command, cwd=self.work, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            self.wait_for("watching:")
        start = time.perf_counter()
        with (self.work / "training" / "run.py").open("a") as script:
            script.write("#\n")
        self.wait_for("FINISHED")
        seconds = time.perf_counter() - start
        self.wait_for("watching:")
        return seconds

    def wait_for(self, words: str) -> None:
        for line in self.process.stdout:
            if words in line:
                return
        raise WrongResult(f"{self.name}: {words!r} never came")

    def close(self) -> None:
        if hasattr(self, "process"):
            self.process.terminate()  # SIGINT may have been ignored when this was started
            self.process.communicate()


class Dvc(Floor):
    """The same four scripts as stages of DVC, in a folder without Git."""

    def prepare(self) -> None:
        subprocess.run(["dvc", "init", "--no-scm", "--quiet"], cwd=self.folder, check=True, env=other_tools())
        shutil.copytree(HERE / "scripts", self.folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "dvc.yaml").write_text(DVC_STAGES.replace("LIST", str(self.bench.list)))

    def reset(self) -> None:
        for name in ("dvc.lock", "data.csv", "clean_data.csv", "model.skops", "predictions.csv"):
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / ".dvc" / "cache", ignore_errors=True)

    def command(self, seed: int) -> list[str]:
        (self.folder / "params.yaml").write_text(f"seed: {seed}\n")
        return ["dvc", "repro", "--quiet"]

    def variables(self) -> dict[str, str]:
        return other_tools()


class Kedro(Floor):
    """The same work as four nodes of Kedro, which knows no reuse: every run runs everything."""

    def prepare(self) -> None:
        shutil.copytree(HERE / "kedro_project", self.folder, dirs_exist_ok=True)
        shutil.copytree(HERE / "scripts", self.folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))

    def command(self, seed: int) -> list[str]:
        return ["kedro", "run", "--params", f"list={self.bench.list},folder={self.folder},seed={seed}"]

    def variables(self) -> dict[str, str]:
        return other_tools()


def other_tools() -> dict[str, str]:
    """The variables for tools that live in an environment of their own (--tools)."""
    found = environment(DVC_NO_ANALYTICS="true", DO_NOT_TRACK="1")
    return found | {"PATH": os.pathsep.join([str(OTHER_TOOLS / "bin"), found["PATH"]])}


OTHER_TOOLS = Path("no-other-tools")
DVC_STAGES = """
stages:
  download:
    cmd: python scripts/download.py LIST data.csv
    deps: [scripts/download.py, LIST]
    outs: [data.csv]
  clean:
    cmd: python scripts/clean.py data.csv clean_data.csv
    deps: [scripts/clean.py, data.csv]
    outs: [clean_data.csv]
  train:
    cmd: python scripts/train.py clean_data.csv model.skops ${seed}
    deps: [scripts/train.py, clean_data.csv]
    outs: [model.skops]
  score:
    cmd: python scripts/score.py model.skops LIST predictions.csv
    deps: [scripts/score.py, model.skops, LIST]
    outs: [predictions.csv]
"""


class OursManaged(Ours):
    settings = ("env_manager=uv",)


class Through(Ours):
    manager = "local"

    def command(self, seed: int) -> list[str]:
        given = {"steps": ",".join(STEPS), "data_url": self.bench.list, "overrides": " ".join(self.overrides(seed))}
        parameters = [part for name, value in given.items() for part in ("-P", f"{name}={value}")]
        return ["mlflow", "run", ".", "--env-manager", self.manager, *parameters]


class Managed(Through):
    manager = "uv"


TOOLS = {
    FLOOR: Floor,
    SCRIPTS: Scripts,
    NAIVE: Naive,
    DVC: Dvc,
    KEDRO: Kedro,
    OURS: Ours,
    WATCH: Watch,
    SPAWN: Spawn,
    EMPTY: Empty,
    THROUGH: Through,
    OURS_MANAGED: OursManaged,
    MANAGED: Managed,
}


@dataclass
class Report:
    """Medians as ratios to the floor's, and what issue 5 asks of them."""

    tools: list[Tool]
    floor: float = field(init=False)

    def __post_init__(self):
        (floor,) = (tool for tool in self.tools if tool.name == FLOOR)
        self.floor = statistics.median(second for seconds in floor.seconds.values() for second in seconds)

    def ratio(self, tool: Tool, column: str) -> float:
        return statistics.median(tool.seconds[column]) / self.floor

    def cell(self, tool: Tool, column: str) -> str:
        if column not in tool.columns or (tool.name == FLOOR and column != FIRST):
            return "-"
        seconds = tool.seconds[column]
        if tool.name == FLOOR:
            seconds = [second for each in tool.seconds.values() for second in each]
        median, low, high = (f(seconds) for f in (statistics.median, min, max))
        return f"{median / self.floor:.2f} ({median:.2f} s, {low:.2f} to {high:.2f})"

    def limits(self) -> list[str]:
        """One line for each figure that has a limit."""
        named = {tool.name: tool for tool in self.tools}
        lines = []
        for column in COLUMNS if OURS in named else ():
            value = self.ratio(named[OURS], column)
            lines.append(f"- {OURS}, {column}: {value:.2f} ({verdict(value, MUST[column], AIM[column])})")
        if WATCH in named:
            value = self.ratio(named[WATCH], CHANGED)
            lines.append(f"- {WATCH}: {value:.2f} ({verdict(value, WATCH_MUST)})")
        for column in COLUMNS if {EMPTY, THROUGH} <= set(named) else ():
            value = self.ratio(named[THROUGH], column) - self.ratio(named[EMPTY], FIRST)
            lines.append(
                f"- {THROUGH} less {EMPTY}, {column}: {value:.2f} ({verdict(value, MUST[column], AIM[column])})"
            )
        for tool in self.tools:
            if tool.name not in MANAGED_TOOLS:
                continue
            value = self.ratio(tool, FIRST)
            lines.append(f"- {tool.name}, {FIRST}: {value:.2f} ({verdict(value, MANAGED_MUST)})")
        return lines

    def __str__(self) -> str:
        rows = [[tool.name, *(self.cell(tool, column) for column in COLUMNS)] for tool in self.tools]
        return table(["tool", *COLUMNS], rows) + "\n\n" + "\n".join(self.limits())


def take_turns(tools: list[Tool], repeats: int, say: Callable[[str], None]) -> None:
    """Fill the tools' seconds: one uncounted round, then `repeats` rounds, in each of them column by column."""
    for number in range(repeats + 1):
        for column in COLUMNS:
            for tool in tools:
                if column in tool.columns:
                    seconds = tool.run(column)
                    say(f"round {number}, {column}, {tool.name}: {seconds:.2f} s{' (not counted)' * (not number)}")
                    if number:
                        tool.seconds[column].append(seconds)


def make_empty_store(path: Path) -> None:
    program = "import mlflow, sys; mlflow.MlflowClient(tracking_uri=sys.argv[1]).search_experiments()"
    command = [sys.executable, "-c", program, f"sqlite:///{path}"]
    subprocess.run(command, check=True, env=environment(), capture_output=True, cwd=path.parent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="counted rounds (5)")
    parser.add_argument("--managed", action="store_true", help="measure --env-manager uv too")
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="the tools whose name holds one of these")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/RESULTS.md")
    parser.add_argument("--tools", type=Path, help="an environment with dvc, kedro, pandas, scikit-learn and skops")
    arguments = parser.parse_args()
    global OTHER_TOOLS
    OTHER_TOOLS = arguments.tools or OTHER_TOOLS
    names = [n for n in TOOLS if n == FLOOR or not arguments.only or any(text in n for text in arguments.only)]
    if not arguments.managed:
        names = [name for name in names if name not in MANAGED_TOOLS]
    if not arguments.tools:
        names = [name for name in names if name not in (DVC, KEDRO)]
    source = REAL_LIST if REAL_LIST.is_file() else SAMPLE
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name).resolve()
        shutil.copy(source, folder / "passengers.csv")
        with source.open(encoding="utf-8", newline="") as file:
            rows = sum(1 for _ in csv.DictReader(file))
        make_empty_store(folder / "empty.db")
        bench = Bench(folder, folder / "passengers.csv", rows, folder / "empty.db")
        tools = [TOOLS[name](name, bench, number) for number, name in enumerate(names)]
        try:
            take_turns(tools, arguments.repeats, lambda line: print(line, file=sys.stderr, flush=True))
        except WrongResult as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            for tool in tools:
                tool.close()
        text = (
            f"{machine()}\n\nMedians of {arguments.repeats}, taken in turn, as multiples of the floor's, with the "
            f"median, least and most seconds; the list is {'the real one' if source == REAL_LIST else 'the sample'}, "
            f"{rows} passengers. A first run starts from an empty store with its tables made. The scripts hand their "
            f"model on with skops, as ours do, not with pickle.\n\n{Report(tools)}\n"
        )
    print(text)
    if arguments.write:
        write_section("orchestration", f"## Orchestration\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
