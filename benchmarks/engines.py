"""Each step that reads a long list, by 1 process, by 2, and by Spark: the same files, at what cost.

    python benchmarks/engines.py [--rows 2000000] [--only data_cleaning inference monitoring] [--write]

The list has every oddity of tests/odd_passengers.py in it: quotes, line ends of every kind, blank lines, bad and ragged
rows, rows and keys that come again. Each measurement is a process of its own with all that it starts (for Spark a
master and two workers on loopback, where PySpark and Java are there): seconds by the clock, seconds of processor time,
and the most memory that all of them had at once, in which pages that processes share count for each.
"""

import argparse
import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
from results import ROOT, environment, machine, table, write_section

sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
STEPS = ("data_cleaning", "inference", "monitoring")
BLOCK = 200_000  # rows that one seed makes, and among which rows come again
CLEAN = """
import sys, pathlib
sys.path.insert(0, sys.argv[1] + "/data_cleaning")
from clean_file import clean_file
from declaration import read_declaration
table = read_declaration(pathlib.Path(sys.argv[1], "dataset.yaml"))
clean_file(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), table, max_rejected=1, **eval(sys.argv[4]))
"""
SCORE = """
import sys, pathlib
sys.path.insert(0, sys.argv[1] + "/inference")
from batch_scoring import score_file
from saved_model import open_model
from sharing import Sharing
folder = pathlib.Path(sys.argv[3])
options = {"rejected": pathlib.Path(sys.argv[2]).with_name("rejected.csv"), "sharing": Sharing(**eval(sys.argv[4]))}
score_file(pathlib.Path(sys.argv[2]), folder / "predictions.csv", open_model(sys.argv[5]), **options)
"""
WATCH = """
import os, sys, pathlib
folder = pathlib.Path(sys.argv[3])
os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}.db"
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/monitoring"]
os.chdir(folder.parent)
import mlflow
from tests.step_programs import run_program
given = {"current": sys.argv[2], "dataset": sys.argv[1] + "/dataset.yaml", "report": "false"} | eval(sys.argv[4])
given |= {"predictions": sys.argv[5], "reference_predictions": sys.argv[5], "reference": sys.argv[6]}
if run_program("monitoring", **given):
    sys.exit("the step failed")
mlflow.artifacts.download_artifacts(run_id=mlflow.last_active_run().info.run_id, dst_path=str(folder))
"""


def generate(path: Path, rows: int) -> None:
    from tests.odd_passengers import odd_header, odd_rows

    with path.open("wb") as file:
        file.write(odd_header())
        for start in range(0, rows, BLOCK):
            file.write(odd_rows(min(BLOCK, rows - start), start, start + 1))


def measure(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of processor time and peak MiB of the command and all else that this process has started."""
    cpu: dict[tuple[int, float], float] = {}  # process -> what it had used when last seen
    peak, start = 0, time.perf_counter()
    process = subprocess.Popen(command, env=environment(**kept()), stderr=subprocess.PIPE, text=True)
    before: dict[tuple[int, float], float] = {}
    while process.poll() is None:
        memory = 0
        for one in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                name, times = (one.pid, one.create_time()), one.cpu_times()
                cpu[name] = times.user + times.system
                if name[1] < time.time() - (time.perf_counter() - start):
                    before.setdefault(name, cpu[name])  # a cluster that was there already
                memory += one.memory_info().rss
        peak = max(peak, memory)
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"the measured process failed with exit code {process.returncode}: {process.stderr.read()[-500:]}")
    return seconds, sum(cpu.values()) - sum(before.values()), peak / 2**20


def kept() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PYTHONPATH", "SPARK_LOCAL_IP", "PYSPARK_PYTHON") if name in os.environ}


def digests(folder: Path) -> str:
    """SHA-256, in hex, over the names and the bytes of all files of a folder."""
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            whole.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--only", nargs="+", choices=STEPS)
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engines: dict[str, dict[str, object]] = {"1 process": {}, "2 processes": {"workers": 2}}
        if find_spec("pyspark"):
            from tests.spark_cluster import standalone

            engines["Spark, standalone, 2 workers"] = {"engine": "spark", "master": ""}
        generate(folder / "in.csv", arguments.rows)
        lines = []
        asked = arguments.only or list(STEPS)
        for step in STEPS[: 1 + max(map(STEPS.index, asked))]:  # each reads what the one before it made
            source, more = folder / "in.csv", []
            if step != "data_cleaning":
                source = folder / "data_cleaning 1 process" / "clean_data.csv"
            if step == "inference":
                from inference_scale import make_model

                more = [make_model(folder)]
            if step == "monitoring":
                more = [folder / "inference 1 process" / "predictions.csv", folder / "training.csv"]
            for engine, options in engines.items() if step in asked else [("1 process", {})]:
                out = folder / f"{step} {engine}"
                out.mkdir()
                with contextlib.ExitStack() as stack:
                    if "master" in options:
                        options["master"] = stack.enter_context(standalone(folder))
                    program = {"data_cleaning": CLEAN, "inference": SCORE, "monitoring": WATCH}[step]
                    given = [str(ROOT), str(source), str(out), repr(options), *map(str, more)]
                    seconds, cpu, mib = measure([sys.executable, "-c", program, *given])
                figures = [f"{seconds:.1f}", f"{cpu:.1f}", f"{mib:.0f}", f"{os.getloadavg()[0]:.1f}"]
                lines.append([step, engine, *figures, digests(out)[:16]])
                print(*lines[-1], flush=True)
        size = (folder / "in.csv").stat().st_size / 1e6
    head = ["step", "by", "s", "processor s", "MiB at most", "load average after it", "SHA-256 of its files"]
    text = f"{arguments.rows:,} rows, {size:.0f} MB, with every oddity.\n\n{table(head, lines)}"
    print(text)
    if any(len({line[-1] for line in lines if line[0] == step}) > 1 for step in STEPS):
        sys.exit("the files differ")
    if arguments.write:
        write_section("engines", f"## By one process, several, and Spark\n\n{machine()}\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
