"""data_cleaning against a bare chunked pandas read-and-write of the same file: time, and peak resident memory.

    python benchmarks/cleaning_scale.py [--rows 1000000 10000000] [--repeats 1]

The file is the sample that ships, repeated with new PassengerIds. Each measurement is a process of its own; its start
and imports are part of it. Byte-code is allowed (PYTHONDONTWRITEBYTECODE is unset).
"""

import argparse
import csv
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OURS = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from clean_file import clean_file
result = clean_file(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
assert not result.checks.failures and result.checks.rows_out == int(sys.argv[4]), result.checks.metrics()
"""
BARE = """
import sys, pandas as pd
with open(sys.argv[3] + "/bare.csv", "w", newline="") as out:
    for number, chunk in enumerate(pd.read_csv(sys.argv[2], chunksize=100_000)):
        chunk.to_csv(out, index=False, header=number == 0)
"""


def generate(path: Path, rows: int) -> None:
    with (ROOT / "data" / "titanic_sample.csv").open(encoding="utf-8", newline="") as file:
        head, *sample = csv.reader(file)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        endless = itertools.islice(itertools.cycle(sample), rows)
        writer.writerows([number, *row[1:]] for number, row in enumerate(endless, start=1))


def measure(program: str, *arguments: object) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and peak resident MiB of a Python process."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"the measured process failed with exit code {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    head = [
        "rows",
        "MB",
        "pandas s",
        "ours s",
        "ratio",
        "processor ratio",
        "ours s per million",
        "pandas MiB",
        "ours MiB",
    ]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "in.csv"
            generate(path, rows)
            measured = [
                (
                    measure(BARE, "", path, folder),
                    measure(OURS, ROOT / "data_cleaning", path, folder, rows),
                )
                for _ in range(arguments.repeats)
            ]
            bare, ours = (statistics.median(pair[place][0] for pair in measured) for place in (0, 1))
            bare_cpu, ours_cpu = (statistics.median(pair[place][1] for pair in measured) for place in (0, 1))
            bare_mib, ours_mib = (max(pair[place][2] for pair in measured) for place in (0, 1))
            figures = [
                f"{rows}",
                f"{path.stat().st_size / 1e6:.0f}",
                f"{bare:.1f}",
                f"{ours:.1f}",
                f"{ours / bare:.2f}",
                f"{ours_cpu / bare_cpu:.2f}",
                f"{ours / rows * 1e6:.2f}",
                f"{bare_mib:.0f}",
                f"{ours_mib:.0f}",
            ]
            print(f"| {' | '.join(figures)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
