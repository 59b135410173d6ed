"""How the pipeline scales: rows, steps, planning, history, downloads; with a plot.

    python benchmarks/scale.py [--only rows steps planning history downloads] [--rows 10000000] [--steps 200]
                               [--planned 1000] [--runs 20000] [--mib 1024] [--repeats 3] [--write]

Each part is measured at a tenth (or so) of its size too, to see that the growth is linear or none. --write puts the
tables into benchmarks/RESULTS.md, and the plot beside it as scale.png. The parts at full size take some 20 minutes
and 6 GB of temporary disk.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cleaning_scale
import toy_pipeline
from results import HERE, ROOT, environment, machine, table, timed, verdict, write_section

DOWNLOAD = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from download import download
print(download(sys.argv[2], pathlib.Path(sys.argv[3])).sha256)
"""
Points = dict[str, list[tuple[float, float]]]  # what is drawn: label -> (size, value)


# -- rows -----------------------------------------------------------------------------------------------------------


def rows(size: int, repeats: int) -> tuple[str, dict[str, Points]]:
    """data_cleaning and inference on many rows, against bare pandas."""
    lines, limits = [], []
    seconds: Points = {}
    memory: Points = {}
    for count in sizes(size, 10):
        command = [sys.executable, str(HERE / "inference_scale.py"), "--json", "--rows", str(count)]
        command += ["--repeats", str(repeats)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment())
        both = {"data_cleaning": cleaning_scale.compare(count, repeats), "inference": json.loads(done.stdout)}
        for step, found in both.items():
            bare, ours = found["bare"], found["ours"]
            ratio = ours["seconds"] / bare["seconds"]
            per_million = f"{ours['seconds'] / count * 1e6:.2f}"
            figures = [f"{bare['seconds']:.1f}", f"{ours['seconds']:.1f}", f"{ratio:.2f}", per_million]
            lines.append([step, f"{count:,}", *figures, f"{bare['mib']:.0f}", f"{ours['mib']:.0f}"])
            seconds.setdefault(f"{step}, s", []).append((count, ours["seconds"]))
            seconds.setdefault(f"bare pandas ({step}), s", []).append((count, bare["seconds"]))
            memory.setdefault(f"{step}, MiB", []).append((count, ours["mib"]))
            if count == size:
                limits.append(f"- {step}, ratio {ratio:.2f} ({verdict(ratio, 1.5)}), {ours['mib']:.0f} MiB")
                limits[-1] += f" ({verdict(ours['mib'], 1024)})"
    head = ["step", "rows", "bare pandas s", "ours s", "ratio", "ours s per million", "bare MiB", "ours MiB"]
    return f"{table(head, lines)}\n\n" + "\n".join(limits), {"rows: time": seconds, "rows: peak memory": memory}


# -- steps ----------------------------------------------------------------------------------------------------------


def steps(size: int, repeats: int) -> tuple[str, dict[str, Points]]:
    """Pipelines of trivial steps: the first run, another one, and a plan when nothing changed."""
    lines, limits = [], []
    points: Points = {}
    for chain in (True, False):
        shape = "a chain" if chain else "side by side"
        for count in sizes(size, 10):
            with tempfile.TemporaryDirectory(prefix="bench-") as name, toy(Path(name), count, chain) as run:
                first = run()
                again = statistics.median(run(reused=count) for _ in range(repeats))
                plan = statistics.median(run("dry_run=true", reused=count) for _ in range(repeats))
            lines.append([shape, str(count), f"{first:.1f}", f"{first / count:.3f}", f"{again:.2f}", f"{plan:.2f}"])
            points.setdefault(f"first run, {shape}", []).append((count, first))
            points.setdefault(f"plan, nothing changed, {shape}", []).append((count, plan))
        limits.append(f"- {shape}: {first / count:.3f} s a step ({verdict(first / count, 0.15)})")
        limits.append(f"- {shape}: plan when nothing changed {plan:.2f} s ({verdict(plan, 3)})")
    head = ["shape", "steps", "first run s", "s per step", "again, nothing changed s", "plan (dry_run) s"]
    note = "Whole processes, their start and the steps' own few milliseconds included."
    return f"{note}\n\n{table(head, lines)}\n\n" + "\n".join(limits), {"steps: seconds": points}


UNCHANGED = {
    # what is measured: arguments
    "from the journal": [],
    "plan": ["dry_run=true", "journal=false"],
    "run": ["journal=false"],
}


def planning(size: int, repeats: int) -> tuple[str, dict[str, Points]]:
    """A chain of trivial steps of which none changed: in seconds of processor time, whatever else the machine does."""
    lines = []
    points: Points = {}
    for count in sizes(size, 10):
        with tempfile.TemporaryDirectory(prefix="bench-") as name, toy(Path(name), count, chain=True) as run:
            run()
            figures = {
                case: statistics.median(processor_seconds(run, *arguments, reused=count) for _ in range(repeats))
                for case, arguments in UNCHANGED.items()
            }
        lines.append([f"{count:,}", *(f"{figure:.2f}" for figure in figures.values())])
        for case, figure in figures.items():
            points.setdefault(case, []).append((count, figure))
    head = ["steps, none changed", *(f"{case} processor s" for case in UNCHANGED)]
    note = "Whole processes, with Python's start and MLflow's import; `plan` and `run` ask the store, not the journal."
    limit = f"- plan {figures['plan']:.2f} s ({verdict(figures['plan'], 5)})"
    return f"{note}\n\n{table(head, lines)}\n\n{limit}", {"planning: processor seconds": points}


def processor_seconds(run: Callable[..., float], *arguments: str, reused: int) -> float:
    """What a run of the toy pipeline takes of the processor, with all processes that it starts and waits for."""
    before = os.times()
    run(*arguments, reused=reused)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@contextlib.contextmanager
def toy(folder: Path, count: int, chain: bool) -> Iterator[Callable[..., float]]:
    """A toy pipeline with a store of its own (tables made): a function that runs it and says how long it took."""
    toy_pipeline.make(folder / "toy", count, chain)
    variables = environment(MLFLOW_TRACKING_URI=f"sqlite:///{folder / 'mlflow.db'}")
    program = "import mlflow; mlflow.MlflowClient().search_experiments()"
    options = {"env": variables, "cwd": folder / "toy", "capture_output": True, "text": True}
    subprocess.run([sys.executable, "-c", program], check=True, **options)
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as store, store:
        store.execute("update experiments set artifact_location = ?", [(folder / "artifacts").as_uri()])

    def run(*arguments: str, reused: int = 0) -> float:
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "main.py", *arguments], **options)
        seconds = time.perf_counter() - start
        if done.returncode:
            sys.exit(f"the toy pipeline failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        if len(re.findall(r"nothing changed\)?$", done.stdout, flags=re.MULTILINE)) != reused:
            sys.exit(f"not {reused} steps were reused:\n{done.stdout[-4000:]}")
        return seconds

    yield run


# -- history --------------------------------------------------------------------------------------------------------

CASES = {
    # what is measured: arguments, and how many of the four steps are reused
    "plan, nothing changed": (["dry_run=true"], 4),
    "plan, a parameter changed": (["dry_run=true", "s0.text=new"], 0),
    "run, nothing changed": ([], 4),
}


def history(size: int, repeats: int) -> tuple[str, dict[str, Points]]:
    """Planning (and running, when nothing changed) four steps beside a history of finished runs."""
    found: dict[int, dict[str, float]] = {}
    counts = [0, *sizes(size, 10)]
    with contextlib.ExitStack() as stack:
        runs = {}
        for count in counts:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            runs[count] = stack.enter_context(toy(folder, 4, chain=True))
            runs[count]()
            if count:
                add_history(folder / "mlflow.db", count)
        for case, (arguments, reused) in CASES.items():
            seconds = {count: [] for count in counts}
            for number in range(repeats + 1):
                for count, run in runs.items():
                    took = run(*arguments, reused=reused)
                    if number:  # the first time, the store's file is read from the disk
                        seconds[count].append(took)
            for count in counts:
                found.setdefault(count, {})[case] = statistics.median(seconds[count])
    lines = [[f"{count:,}", *(f"{value:.2f}" for value in cases.values())] for count, cases in found.items()]
    limits = []
    for case in CASES:
        longer = found[counts[-1]][case] - found[0][case]
        limits.append(f"- {case}: {longer:+.2f} s with {counts[-1]:,} runs ({verdict(longer, 0.5)})")
    points = {case: [(count, found[count][case]) for count in counts] for case in CASES}
    return f"{table(['runs', *(f'{c} s' for c in CASES)], lines)}\n\n" + "\n".join(limits), {"history: seconds": points}


def add_history(store: Path, count: int) -> None:
    """Copy the store's finished runs until there are about `count` more, all older, with fingerprints of their own."""
    with contextlib.closing(sqlite3.connect(store)) as db, db:
        made = db.execute("select count(*) from runs where status = 'FINISHED'").fetchone()[0]
        db.execute("create temp table copies (old text, new text, number integer, primary key (old, number))")
        db.execute(
            "with recursive n(number) as (select 1 union all select number + 1 from n where number < ?) "
            "insert into copies select run_uuid, lower(hex(randomblob(16))), number from runs, n "
            "where status = 'FINISHED'",
            [count // made],
        )
        parent = "coalesce((select p.new from copies p where p.old = t.value and p.number = c.number), t.value)"
        other = {
            "runs": {
                "start_time": "t.start_time - 1000 * c.number",
                "end_time": "t.end_time - 1000 * c.number",
                "artifact_uri": "replace(t.artifact_uri, c.old, c.new)",
            },
            "tags": {
                "value": "case when t.key = 'pipeline.fingerprint' then lower(hex(randomblob(32))) "
                f"when t.key in ('mlflow.parentRunId', 'pipeline.run') then {parent} else t.value end"
            },
            "params": {},
            "metrics": {},
            "latest_metrics": {},
        }
        for name, changed in other.items():
            columns = [row[1] for row in db.execute(f"pragma table_info({name})")]
            values = [changed.get(c, "c.new" if c == "run_uuid" else f't."{c}"') for c in columns]
            names = ", ".join(f'"{c}"' for c in columns)
            db.execute(
                f"insert into {name} ({names}) select {', '.join(values)} "  # noqa: S608 (names of tables and columns)
                f"from {name} t join copies c on c.old = t.run_uuid"
            )


# -- downloads ------------------------------------------------------------------------------------------------------


def downloads(size: int, repeats: int) -> tuple[str, dict[str, Points]]:
    """data_download's download() against curl, from a server on this machine; `size` in MiB."""
    lines = []
    points: Points = {}
    for mib in sizes(size, 16):
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            expected = write_csv(folder / "list.csv", mib)
            with served(folder) as url:
                found = {"curl": [], "ours": []}
                target = folder / "target.csv"
                for _ in range(repeats + 1):
                    for who, results in found.items():
                        results.append(fetch(who, url, target, expected))
        (curl, _), (ours, most) = (
            (statistics.median(r[0] for r in results[1:]), max(r[2] for r in results)) for results in found.values()
        )
        cpu = statistics.median(r[1] for r in found["ours"][1:])
        lines.append([str(mib), f"{curl:.2f}", f"{ours:.2f}", f"{ours / curl:.2f}", f"{cpu:.2f}", f"{most:.0f}"])
        points.setdefault("curl", []).append((mib, curl))
        points.setdefault("ours", []).append((mib, ours))
    head = ["MiB", "curl s", "ours s", "ratio", "ours processor s", "ours MiB of memory"]
    note = "Whole processes: Python's start and imports are part of ours, as are the digest and the count of lines."
    limit = f"- ratio {ours / curl:.2f} ({verdict(ours / curl, 1.3)})"
    return f"{note}\n\n{table(head, lines)}\n\n{limit}", {"downloads: seconds": points}


def fetch(who: str, url: str, target: Path, expected: str) -> tuple[float, float, float]:
    """Download once; what was written must be what was served."""
    target.unlink(missing_ok=True)
    os.sync()  # what the run before left to be written is not this one's
    curl = ["curl", "--silent", "--show-error", "--fail", "--output", str(target), url]
    ours = [sys.executable, "-c", DOWNLOAD, str(ROOT / "data_download"), url, str(target)]
    figures = timed({"curl": curl, "ours": ours}[who], stdout=subprocess.DEVNULL)
    with target.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            sys.exit(f"{who} wrote something else than was served")
    return figures


def write_csv(path: Path, mib: int) -> str:
    """A CSV file of so many MiB; its SHA-256."""
    block = b"".join(b"%07d,0,3,%s,male\n" % (number, b"x" * 108) for number in range(2**20 // 128))
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The URL of the folder's list.csv, served by a process of its own."""
    command = [sys.executable, str(HERE / "loopback_server.py"), str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/list.csv"
    finally:
        server.kill()
        server.communicate()


# -- all of it ------------------------------------------------------------------------------------------------------

UNITS = {
    "rows": "rows",
    "steps": "steps",
    "planning": "steps",
    "history": "finished runs in the store",
    "downloads": "MiB",
}
PARTS = {"rows": rows, "steps": steps, "planning": planning, "history": history, "downloads": downloads}


def sizes(size: int, part: int) -> list[int]:
    return sorted({max(1, size // part), size})


def draw(plots: dict[str, Points], path: Path) -> None:
    """One small plot for each figure; sizes from left to right."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(plots), figsize=(4.5 * len(plots), 4), squeeze=False)
    for axis, (title, points) in zip(axes[0], plots.items(), strict=True):
        for label, line in points.items():
            axis.plot(*zip(*line, strict=True), marker="o", label=label)
        axis.set(title=title, xlabel=UNITS[title.split(":")[0]], ylim=0)
        axis.locator_params(axis="x", nbins=5)
        axis.legend(fontsize="x-small")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--planned", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=3, help="medians of so many (3); of the rows, one")
    parser.add_argument("--plot", type=Path, default=None, help="where the plot goes; with --write, beside RESULTS.md")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    size = dict(
        zip(PARTS, (arguments.rows, arguments.steps, arguments.planned, arguments.runs, arguments.mib), strict=True)
    )
    described = machine()
    print(described)
    plots: dict[str, Points] = {}
    for part in arguments.only:
        text, drawn = PARTS[part](size[part], 1 if part == "rows" else arguments.repeats)
        print(f"\n### {part}\n\n{text}", flush=True)
        plots |= drawn
        if arguments.write:
            write_section(f"scale: {part}", f"## Scale: {part}\n\n{described}\n\n{text}")
    whole = arguments.write and arguments.only == list(PARTS)  # a part alone leaves the picture as it is
    if path := arguments.plot or (HERE / "scale.png" if whole else None):
        draw(plots, path)
        if whole:
            write_section("scale: plot", f"![How the pipeline scales]({path.name})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
