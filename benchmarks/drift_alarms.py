"""How often monitoring raises its flag: on lists where nothing has changed, and on lists where something has.

    python benchmarks/drift_alarms.py [--draws 100] [--rows 200]

For each list: `rows` passengers drawn at random, against the rest of it (fresh) and against the whole (redrawn, with
replacement); then the same draws with every age raised by 15 years, and with first and third class swapped.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "monitoring")]

from declaration import read_declaration  # noqa: E402 - found by the line above

LISTS = {
    "the real list": ROOT.parent / "shared" / "data" / "titanic.csv",
    "the sample that ships": ROOT / "data" / "titanic_sample.csv",
}
MOST_FALSE, LEAST_TRUE = 0.05, 0.99


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.01)
    arguments = parser.parse_args()
    print(f"{arguments.draws} draws of {arguments.rows} rows, alpha={arguments.alpha:g}\n")
    print("| list | drawn | changed | flags raised | wanted | |\n| --- | --- | --- | --- | --- | --- |")
    kept = True
    for name, path in LISTS.items():
        if not path.is_file():
            print(f"| {name} | not at {path}: skipped | | | | |")
            continue
        passengers = read_declaration(ROOT / "dataset.yaml").read(path)
        for drawn, draw in (("fresh", fresh), ("redrawn", redrawn)):
            for changed, change in CHANGES.items():
                share = flags(passengers, draw, change, arguments.draws, arguments.rows, arguments.alpha)
                good = share <= MOST_FALSE if change is as_it_is else share >= LEAST_TRUE
                wanted = f"at most {MOST_FALSE:.0%}" if change is as_it_is else f"at least {LEAST_TRUE:.0%}"
                print(f"| {name} | {drawn} | {changed} | {share:.0%} | {wanted} | {'kept' if good else 'MISSED'} |")
                kept &= good
    return 0 if kept else 1


def flags(passengers: pd.DataFrame, draw: Callable, change: Callable, draws: int, rows: int, alpha: float) -> float:
    """The share of `draws` (seeds 0, 1, 2 …) that raise the flag, with the defaults of monitoring."""
    from drift import column_kinds, comparable, compare, decide

    table = read_declaration(ROOT / "dataset.yaml")
    raised = 0
    for seed in range(draws):
        reference, current = draw(passengers, rows, np.random.default_rng(seed))
        kinds = column_kinds(table, reference)
        before, after = comparable(table, reference, kinds), comparable(table, change(current), kinds)
        findings = compare(before, after, kinds, min_effect=0.1)
        raised += decide(findings, alpha, len(reference), len(current), min_rows=100).drift_detected
    return raised / draws


def fresh(passengers: pd.DataFrame, rows: int, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reference and current: two parts of the list that share no one."""
    order = random.permutation(len(passengers))
    return passengers.iloc[order[rows:]], passengers.iloc[order[:rows]]


def redrawn(passengers: pd.DataFrame, rows: int, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reference and current: the whole list, and rows drawn from it with replacement."""
    return passengers, passengers.iloc[random.integers(0, len(passengers), rows)]


def as_it_is(current: pd.DataFrame) -> pd.DataFrame:
    return current


def older(current: pd.DataFrame) -> pd.DataFrame:
    return current.assign(Age=current["Age"] + 15)


def swapped(current: pd.DataFrame) -> pd.DataFrame:
    return current.assign(Pclass=current["Pclass"].map({1: 3, 2: 2, 3: 1}))


CHANGES = {"nothing": as_it_is, "age +15 years": older, "classes 1 and 3 swapped": swapped}

if __name__ == "__main__":
    sys.exit(main())
