"""Whom the gate lets through: challengers of known worth, many times, and a long chain of ever worse ones.

    python benchmarks/gate_trials.py [--splits 16] [--challengers 3] [--chains 40] [--tables 200] [--record]

The list is split by group, a champion is trained, and challengers of six kinds are judged beside it by the functions
that the step evaluation calls. How much worse a kind truly is, is the mean of its accuracy under the champion's over
all splits. The chain is simulated, without fitting anything: each challenger is a little worse than the champion of its
day, every one that passes becomes champion, and the truth is known. Last, tables drawn from the list, as they are and
with something wrong with them, are compared with others drawn from it: which faults are found, and which alarms are
false.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "evaluation"), str(ROOT / "training")]

from comparison import compare  # noqa: E402 - found by the line above
from data_faults import faults  # noqa: E402
from declaration import read_declaration  # noqa: E402
from gate import Gate, is_better, reason_below_anchor, reasons_worse  # noqa: E402
from grouped_rows import group_codes  # noqa: E402
from predictions import PROBABILITY, predict  # noqa: E402

from benchmarks.results import REAL_LIST, SAMPLE, machine, write_section  # noqa: E402

TABLE = read_declaration(ROOT / "dataset.yaml")
TARGET = TABLE.target.name
GATE = Gate({}, None, None, 30, 0.02, 50)  # of what is asked beside other models, the step's defaults
DRAWS = 20  # of the bootstrap: its intervals decide nothing
EQUAL, WORSE = 0.9, 0.1  # least share of equals, most of those worse by MUCH, that may be promoted
MUCH = 0.025
SEEDS = (4000, 130_000, 9000)  # those that are reported: the gate's rules were chosen on others
told: list[str] = []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=16)
    parser.add_argument("--challengers", type=int, default=3, help="of each kind and split")
    parser.add_argument("--model", default="soft_vote", help="the champion's recipe")
    parser.add_argument("--chain", type=int, default=100, help="challengers in a row")
    parser.add_argument("--chains", type=int, default=40)
    parser.add_argument("--rows", type=int, nargs="+", default=[180, 1000], help="of the chain's holdouts")
    parser.add_argument("--tables", type=int, default=200, help="drawn to look for faults in, of each kind")
    parser.add_argument(
        "--seeds", type=int, nargs=3, default=SEEDS, help="of the first split, chain and pair of tables"
    )
    parser.add_argument("--list", type=Path, default=REAL_LIST if REAL_LIST.is_file() else SAMPLE, help="a clean table")
    parser.add_argument("--record", action="store_true", help="write the tables into benchmarks/RESULTS.md")
    given = parser.parse_args()
    counts = (given.splits, given.chains, given.tables)
    splits, seeds, pairs = (range(first, first + count) for first, count in zip(given.seeds, counts, strict=True))
    kept = trials(given.list, splits, given.challengers, given.model)
    tell()
    kept &= chains(seeds, given.chain, given.rows)
    tell()
    kept &= faulty_tables(given.list, pairs)
    if given.record:
        write_section("gate", f"## The gate\n\n{machine()}\n\n" + "\n".join(told))
    return 0 if kept else 1


def tell(line: str = "") -> None:
    print(line, flush=True)
    told.append(line)


# Challengers that are trained -----------------------------------------------------------------------------------------


def same(train: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    return train


def half(train: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    return train.iloc[random.permutation(len(train))[: len(train) // 2]]


def flipped(share: float) -> Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]:
    def change(train: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        wrong = random.random(len(train)) < share
        other = train[TARGET].map(dict(zip(TABLE.classes, TABLE.classes[::-1], strict=True)))
        return train.assign(**{TARGET: train[TARGET].where(~wrong, other)})

    return change


KINDS = {
    "same recipe, another seed": (None, same),
    "half the rows": (None, half),
    "10 % of labels flipped": (None, flipped(0.1)),
    "20 % of labels flipped": (None, flipped(0.2)),
    "30 % of labels flipped": (None, flipped(0.3)),
    "logistic regression": ("logistic_regression", same),
}


def trials(path: Path, splits: range, challengers: int, model: str) -> bool:
    """Print the table of trained challengers; whether what is wanted was kept."""
    rows = TABLE.read(path)
    found = pd.DataFrame(list(judged(rows, splits, challengers, model)))
    tell(f"{len(rows)} rows of {path.name}, {len(splits)} splits, {challengers} challengers of each kind\n")
    tell("| challenger | truly worse by | promoted by accuracy and ROC AUC alone | promoted | wanted | |")
    tell("| --- | --- | --- | --- | --- | --- |")
    kept = True
    for kind in KINDS:
        part = found[found["kind"] == kind]
        worse, promoted = part["worse"].mean(), part["promoted"].mean()
        wanted, good = "", ""
        if kind == "same recipe, another seed":
            wanted, good = f"at least {EQUAL:.0%}", "kept" if promoted >= EQUAL else "MISSED"
        elif worse >= MUCH:
            wanted, good = f"at most {WORSE:.0%}", "kept" if promoted <= WORSE else "MISSED"
        kept &= good != "MISSED"
        tell(f"| {kind} | {worse:.3f} | {part['before'].mean():.0%} | {promoted:.0%} | {wanted} | {good} |")
    return kept


def judged(rows: pd.DataFrame, splits: range, challengers: int, model: str) -> Iterator[dict]:
    """By split and challenger: how much worse its accuracy is, and whether it is promoted, before and now."""
    from estimators import Recipe, hyperparameters
    from holdout import in_holdout_rows

    def said(name: str, seed: int, train: pd.DataFrame, holdout: pd.DataFrame) -> pd.DataFrame:
        recipe = Recipe(TABLE, name, hyperparameters(TABLE.task, name, {}), seed)
        return predict(recipe.fit(train), TABLE, holdout[recipe.columns])

    for split in splits:
        held = in_holdout_rows(TABLE, rows, 0.2, split)
        train, holdout = rows[~held], rows[held]
        truth, champion = holdout[TARGET].to_numpy(), said(model, 0, train, holdout)
        groups = group_codes(TABLE, holdout).to_numpy()
        for kind, (recipe, change) in KINDS.items():
            for seed in range(1, 1 + challengers):
                changed = change(train, np.random.default_rng(seed))
                difference = compare(
                    TABLE, truth, said(recipe or model, seed, changed, holdout), champion, groups, DRAWS
                )
                yield {"kind": kind, "worse": -difference["accuracy"], **verdicts(difference)}
                if recipe and change is same:
                    break  # the seed changes nothing


def verdicts(beside: dict[str, float], anchor: dict[str, float] | None = None) -> dict[str, bool]:
    """Whether a challenger passes: by metrics alone, and as the step judges it.

    `beside` and `anchor` are the differences to the champion and, where that is another model, to the anchor.
    """
    reasons = reasons_worse(GATE, TABLE, beside, "the champion")
    if anchor:
        reasons += [*reasons_worse(GATE, TABLE, anchor, "the anchor"), *filter(None, [reason_below_anchor(anchor)])]
    return {
        "before": all(beside[name] >= -GATE.tolerance for name in ("accuracy", "roc_auc")),
        "promoted": not reasons,
    }


# A chain that is simulated --------------------------------------------------------------------------------------------


def chains(seeds: range, length: int, sizes: list[int]) -> bool:
    """Print what becomes of the champion's true accuracy; whether its mean falls by no more than the tolerance."""
    tell(f"{len(seeds)} chains of {length} challengers in a row, each truly worse than the champion by 0.002 to 0.01\n")
    tell("| rows compared | holdout | true accuracy lost, mean (largest) | by accuracy and ROC AUC alone | wanted | |")
    tell("| --- | --- | --- | --- | --- | --- |")
    kept = True
    for rows in sizes:
        for fresh in (False, True):
            lost, before = (
                np.array([chain(length, rows, fresh, rule, np.random.default_rng(seed)) for seed in seeds])
                for rule in ("promoted", "before")
            )
            good = float(lost.mean()) <= GATE.tolerance
            kept &= good
            tell(
                f"| {rows} | {'new each time' if fresh else 'the same'} | {lost.mean():.3f} ({lost.max():.3f}) | "
                f"{before.mean():.3f} | at most {GATE.tolerance:g} | {'kept' if good else 'MISSED'} |"
            )
    return kept


class Simulated:
    """People of whom the chance to be positive is known, and models that know it with more or less noise.

    A model is a noise level: the logit it gives is the true one plus as much noise of its own for each person.
    """

    def __init__(self, rows: int, random: np.random.Generator):
        self.random = random
        self.logit = random.normal(-0.5, 2.2, rows)
        self.truth = (random.random(rows) < 1 / (1 + np.exp(-self.logit))).astype(int)
        self.own = random.normal(size=rows)  # what all models get wrong alike

    def says(self, noise: float, own: np.ndarray) -> pd.DataFrame:
        """Predictions of a model whose noise is mostly the others' too: models of one table err alike."""
        logit = self.logit + noise * (0.8 * self.own + 0.6 * own)
        probability = 1 / (1 + np.exp(-logit))
        return pd.DataFrame({TARGET: (probability >= 0.5).astype(int), PROBABILITY: probability})


def true_accuracy(noise: float) -> float:
    """Of a model with that much noise, over all people."""
    from scipy.stats import norm

    logit = -0.5 + 2.2 * norm.ppf(np.arange(1, 2001) / 2001)
    chance, says_yes = 1 / (1 + np.exp(-logit)), norm.cdf(logit / noise)
    return float((says_yes * chance + (1 - says_yes) * (1 - chance)).mean())


@functools.cache
def known_noises() -> tuple[np.ndarray, np.ndarray]:
    noises = np.linspace(0.2, 12, 400)
    return noises, np.array([true_accuracy(noise) for noise in noises])


def noise_for(accuracy: float) -> float:
    """The noise of a model with that true accuracy."""
    noises, accuracies = known_noises()
    return float(np.interp(-accuracy, -accuracies, noises))


@dataclass(eq=False)
class Model:
    accuracy: float  # the true one
    own: np.ndarray  # what it gets wrong of each person in its own way


def chain(length: int, rows: int, fresh: bool, rule: str, random: np.random.Generator) -> float:
    """By how much the true accuracy of the champion has fallen after so many challengers."""
    first = true_accuracy(1.0)
    people = Simulated(rows, random)
    champion = anchor = Model(first, random.normal(size=rows))
    for _ in range(length):
        if fresh:  # other people, of whom every model is wrong in its own way again
            people = Simulated(rows, random)
            for one in {id(champion): champion, id(anchor): anchor}.values():
                one.own = random.normal(size=rows)
        challenger = Model(champion.accuracy - random.uniform(0.002, 0.01), random.normal(size=rows))
        if challenger.accuracy < 0.6:
            break
        beside = compare_simulated(people, challenger, champion)
        beside_anchor = beside if anchor is champion else compare_simulated(people, challenger, anchor)
        if verdicts(beside, None if anchor is champion else beside_anchor)[rule]:
            champion = challenger
            if is_better(beside_anchor):
                anchor = challenger
    return first - champion.accuracy


def compare_simulated(people: "Simulated", one: Model, other: Model) -> dict[str, float]:
    said = [people.says(noise_for(model.accuracy), model.own) for model in (one, other)]
    return compare(TABLE, people.truth, *said, draws=DRAWS)


# Tables with something wrong with them --------------------------------------------------------------------------------


def constant(rows: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    name = random.choice([one.name for one in TABLE.features])
    return rows.assign(**{name: rows[name].dropna().iloc[0]})


def swapped(one: str, other: str) -> Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]:
    return lambda rows, _: rows.assign(**{one: rows[other], other: rows[one]})


FAULTS: dict[str, Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]] = {
    "none": lambda rows, _: rows,
    "Fare times 20": lambda rows, _: rows.assign(Fare=rows["Fare"] * 20),
    "no titles in Name": lambda rows, _: rows.assign(Name=rows["Name"].str.replace(r"[A-Z][a-z]+\. ", "", regex=True)),
    "one column all the same": constant,
    "Age and Fare swapped": swapped("Age", "Fare"),
    "SibSp and Parch swapped": swapped("SibSp", "Parch"),
}


def faulty_tables(path: Path, seeds: range) -> bool:
    """Print the table of faults found; whether what is wanted was kept."""
    rows, columns = TABLE.read(path), [one.name for one in TABLE.features]
    parties = list(rows.groupby(TABLE.group).indices.values())
    some = seeds[: max(1, len(seeds) // 5)]
    tell(f"{len(seeds)} pairs of tables drawn from {path.name}, {len(some)} with each fault\n")
    tell("| what is wrong with the new table | rows | told of people drawn one by one | in parties | wanted | |")
    tell("| --- | --- | --- | --- | --- | --- |")
    kept = True
    for fault, change in FAULTS.items():
        for count in (200, len(rows)):
            told = [0.0, 0.0]
            for together in (False, True):
                draws = seeds if fault == "none" else some
                for seed in draws:
                    random = np.random.default_rng(seed)
                    before, after = (drawn(rows, parties, size, together, random) for size in (len(rows), count))
                    found = faults(TABLE, columns, before, change(after, random), GATE.min_compared)
                    told[together] += bool(found) / len(draws)
            good = max(told) <= 0.01 if fault == "none" else min(told) >= 0.95
            kept &= good
            wanted = "at most 1 %" if fault == "none" else "at least 95 %"
            shares = " | ".join(f"{share:.1%}" for share in told)
            tell(f"| {fault} | {count} | {shares} | {wanted} | {'kept' if good else 'MISSED'} |")
    return kept


def drawn(
    rows: pd.DataFrame, parties: list[np.ndarray], count: int, together: bool, random: np.random.Generator
) -> pd.DataFrame:
    """About so many rows, with replacement: one by one, or a party at a time, each then a party of its own."""
    if not together:
        return rows.iloc[random.integers(0, len(rows), count)].reset_index(drop=True)
    chosen = [parties[one] for one in random.integers(0, len(parties), round(count * len(parties) / len(rows)))]
    tickets = np.repeat([f"party {number}" for number in range(len(chosen))], [len(party) for party in chosen])
    return rows.iloc[np.concatenate(chosen)].reset_index(drop=True).assign(**{TABLE.group: tickets.astype(object)})


if __name__ == "__main__":
    sys.exit(main())
