"""Batch inference on many rows: seconds and peak memory, against a bare chunked read + predict_proba + write.

    python benchmarks/inference_scale.py [--rows 1000000] [--model models:/titanic@champion]

Without --model, a small forest on some columns is fitted. Both run in processes of their own, one after
the other; tracking is not part of either.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "inference"), str(ROOT / "training"), str(ROOT / "data")]
CHUNK = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--model", default="")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the figures for a program")
    parser.add_argument("--only", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.folder, arguments.model)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = arguments.model or make_model(folder)
        write_rows(folder / "input.csv", arguments.rows)
        found = {"bare": [], "ours": []}
        for _ in range(arguments.repeats):  # in turn, so that a slower minute hits both
            for which, results in found.items():
                command = [sys.executable, __file__, "--only", which, "--folder", name, "--model", model]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results.append(json.loads(done.stdout.splitlines()[-1]))
        if arguments.json:
            print(json.dumps(summary(found)))
        else:
            show(found, arguments.rows)


def make_model(folder: Path) -> str:
    from make_sample import passengers, write

    from tests.example_tables import TITANIC, save_model

    write(passengers(900), folder / "training.csv")
    return str(save_model(folder / "model", TITANIC, TITANIC.read(folder / "training.csv")))


def write_rows(path: Path, rows: int) -> None:
    from make_sample import passengers

    block = passengers(5_000)
    for start in range(0, rows, len(block)):
        part = block.head(rows - start).copy()
        part["PassengerId"] += start
        part.to_csv(path, mode="a", header=start == 0, index=False)


def measure(which: str, folder: Path, model: str) -> dict[str, float]:
    import pandas as pd
    from batch_scoring import score_file
    from saved_model import open_model

    loaded = open_model(model)
    source, target = folder / "input.csv", folder / f"{which}.csv"
    target.unlink(missing_ok=True)
    start = time.perf_counter()
    if which == "ours":
        score_file(source, target, loaded, chunk_rows=CHUNK)
    else:
        for chunk in pd.read_csv(source, chunksize=CHUNK):
            probability = loaded.estimator.predict_proba(chunk[list(loaded.columns)])[:, 1]
            result = pd.DataFrame(
                {"PassengerId": chunk["PassengerId"], "Survived": probability > 0.5, "p": probability}
            )
            result.to_csv(target, mode="a", index=False)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    """For `bare` and `ours`: the median of the seconds, the most of the MiB."""
    return {
        which: {
            "seconds": statistics.median(one["seconds"] for one in results),
            "mib": max(one["mib"] for one in results),
        }
        for which, results in found.items()
    }


def show(found: dict[str, list[dict[str, float]]], rows: int) -> None:
    figures = summary(found)
    print(
        f"{rows} rows, chunks of {CHUNK}, Python {platform.python_version()}, {platform.machine()}, {platform.system()}"
    )
    print("| | seconds (median) | ratio | peak MiB |\n| --- | --- | --- | --- |")
    for which, one in figures.items():
        ratio = one["seconds"] / figures["bare"]["seconds"]
        print(f"| {which} | {one['seconds']:.2f} | {ratio:.2f} | {one['mib']:.0f} |")


if __name__ == "__main__":
    main()
