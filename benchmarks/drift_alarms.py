"""How often monitoring raises its flag: on lists where nothing has changed, and on lists where something has.

    python benchmarks/drift_alarms.py [--draws 40] [--rows 200,418,2000] [--others]
    python benchmarks/drift_alarms.py --lives 100 [--rows 100]

Passengers are drawn one by one, or in the parties that they travel in (of one ticket): up to half a list without
replacement, against the rest of it; more with replacement, against the whole, each copy of a party with a ticket of its
own. `--lives` draws a reference as long as the list, and 16 lists that are watched one after the other, and asks in
how many such lives one day alone, and the days added up, raise a flag. `--others` puts Evidently's defaults and a
classifier two-sample test (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests", ICLR 2017) beside it, which
takes minutes; the latter knows copies of people again, so that it says nothing of more than half a list.
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
from drift import MISSING, Finding, column_kinds, comparable, compare, compare_accuracy, decide  # noqa: E402
from grouped_rows import design_effects, group_codes  # noqa: E402
from lasting import add_up, table_shifts  # noqa: E402

LISTS = {
    "the real list": ROOT.parent / "shared" / "data" / "titanic.csv",
    "the sample that ships": ROOT / "data" / "titanic_sample.csv",
}
TABLE = read_declaration(ROOT / "dataset.yaml")
ALPHA, MIN_EFFECT, MAX_DROP, MIN_ROWS = 0.01, 0.05, 0.05, 100  # monitoring's defaults
IMPORTANCE: dict[str, float] = {}  # of the columns, to the simple model of `with_outcomes`
DAYS = 16
LEAST_FOUND = 0.95  # of batches of 2,000, of what is WANTED


def older(current: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    return current.assign(Age=current["Age"] + 3)


def more_women(current: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Nine points more of them: some men's places in their parties are women's, with their names and all."""
    men = (current["Sex"] == "male").to_numpy()
    chosen = np.flatnonzero(men & (random.random(len(current)) < 0.09 / men.mean()))
    own = ["PassengerId", "Ticket", "right"]
    changed = current.copy()
    women = current.iloc[random.choice(np.flatnonzero(~men), len(chosen))].set_axis(current.index[chosen])
    changed.loc[women.index] = women.assign(**current.loc[women.index, own])
    return changed


def more_women_in_one_column(current: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Nine points more of them by the column Sex alone, which is harder to find."""
    men = (current["Sex"] == "male").to_numpy()
    chosen = men & (random.random(len(current)) < 0.09 / men.mean())
    return current.assign(Sex=current["Sex"].mask(chosen, "female"))


def fewer_cabins(current: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    return current.assign(Cabin=current["Cabin"].where(random.random(len(current)) < 0.10 / 0.23))


def no_titles(current: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    return current.assign(Name=current["Name"].str.replace(r", [^,.]+\. ", ", ", regex=True))


def unchanged(current: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    return current


def wrong_more_often(points: float) -> Callable:
    """Predictions that were right become wrong, so that the true accuracy is lower by so much."""

    def change(current: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
        spoilt = random.random(len(current)) < points / current["right"].mean()
        return current.assign(right=current["right"].to_numpy() & ~spoilt)

    return change


CHANGES = {
    "nothing": unchanged,
    "age +3 years": older,
    "women +9 points": more_women,
    "Sex alone +9 points": more_women_in_one_column,
    "cabins missing 77 -> 90 %": fewer_cabins,
    "titles gone": no_titles,
    "accuracy -5 points": wrong_more_often(0.05),
    "accuracy -11 points": wrong_more_often(0.11),
}
WANTED = {"age +3 years", "women +9 points", "cabins missing 77 -> 90 %", "titles gone", "accuracy -11 points"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--rows", default="200,418,2000")
    parser.add_argument("--changes", default=",".join(CHANGES), help="some of them, by the beginnings of their names")
    parser.add_argument("--lives", type=int, default=0)
    parser.add_argument("--others", action="store_true", help="Evidently and a classifier two-sample test, too")
    asked = parser.parse_args()
    changes = [name for name in CHANGES if any(name.startswith(one) for one in asked.changes.split(","))]
    sizes = [int(size) for size in asked.rows.split(",")]
    if asked.lives:
        return lives(changes, sizes, asked.lives)
    judges = {"monitoring": monitoring} | ({"Evidently": evidently, "classifier": classifier} if asked.others else {})
    print(f"{asked.draws} draws each, alpha={ALPHA:g}, min_effect={MIN_EFFECT:g}\n")
    print(f"| list | drawn | changed | raised by | {' | '.join(f'{size:,} rows' for size in sizes)} | wanted | |")
    print("| --- | --- | --- | --- |" + " --- |" * (len(sizes) + 2))
    kept = True
    for name, path in LISTS.items():
        if not path.is_file():
            print(f"| {name} | not at {path}: skipped |" + " |" * (len(sizes) + 4))
            continue
        people = with_outcomes(TABLE.read(path))
        for drawn, draw in (("one by one", one_by_one), ("in parties", in_parties)):
            for changed in changes:
                for by, judge in judges.items():
                    if by != "monitoring" and changed.startswith("accuracy"):
                        continue
                    raised = [share(people, draw, CHANGES[changed], judge, size, asked.draws) for size in sizes]
                    wanted, good = verdict(changed, sizes, raised, asked.draws) if by == "monitoring" else ("", True)
                    kept &= good
                    mark = ("kept" if good else "MISSED") if wanted else ""
                    shares = " | ".join(f"{one:.1%}" for one in raised)
                    print(f"| {name} | {drawn} | {changed} | {by} | {shares} | {wanted} | {mark} |", flush=True)
    return 0 if kept else 1


def lives(changes: list[str], sizes: list[int], count: int) -> int:
    """Prints in how many lives of DAYS lists of people in parties there is a flag; whether false ones are rare."""
    print(f"{count} lives of {DAYS} lists each, alpha={ALPHA:g}, min_effect={MIN_EFFECT:g}\n")
    print("| list | rows a day | changed | a day's own flag, on any day | days added up | found with, on average |")
    print("| --- | --- | --- | --- | --- | --- |")
    kept = True
    for name, path in LISTS.items():
        if not path.is_file():
            continue
        people = with_outcomes(TABLE.read(path))
        for rows in sizes:
            for changed in changes:
                lived = [life(people, CHANGES[changed], rows, seed) for seed in range(count)]
                daily, found = sum(one for one, _ in lived), [lists for _, lists in lived if lists]
                lists = f"{np.mean(found):.1f} lists" if found else ""
                shares = f"{daily / count:.0%} | {len(found) / count:.0%} | {lists}"
                print(f"| {name} | {rows} | {changed} | {shares} |", flush=True)
                kept &= changed != "nothing" or len(found) <= max(1, 2 * ALPHA * count)
    return 0 if kept else 1


def life(people: pd.DataFrame, change: Callable, rows: int, seed: int) -> tuple[bool, int]:
    """Whether any of DAYS lists raised the flag by itself, and with how many their sum did (0: never)."""
    random = np.random.default_rng(seed)
    reference = in_parties(people, len(people), random)[1]
    kinds, past, daily = column_kinds(TABLE, reference), [], False
    for day in range(1, DAYS + 1):
        current = change(in_parties(people, rows, random)[1], random)
        daily |= monitoring(reference, current, seed)
        before, after = comparable(TABLE, reference, kinds), comparable(TABLE, current, kinds)
        groups = group_codes(TABLE, reference), group_codes(TABLE, current)
        today = table_shifts(TABLE, kinds, before, after, MIN_EFFECT, groups)
        if any(one.drifted for one in add_up(today, past, ALPHA)):
            return daily, day
        past.append({one.name: (one.mean, one.rows) for one in today})
    return daily, 0


def verdict(changed: str, sizes: list[int], raised: list[float], draws: int) -> tuple[str, bool]:
    """What is wanted, and whether it is so; of false alarms more than one only where one is more than 1 %."""
    if changed == "nothing":
        return f"<= {ALPHA:.0%}", all(one <= max(ALPHA, 1 / draws) for one in raised)
    if changed in WANTED and 2000 in sizes:
        return f">= {LEAST_FOUND:.0%} of 2,000", raised[sizes.index(2000)] >= LEAST_FOUND
    return "", True


def with_outcomes(people: pd.DataFrame) -> pd.DataFrame:
    """The list with the column `right`: whether a simple model, fitted on nine tenths, is right about the others.

    What columns are worth to it goes into IMPORTANCE.
    """
    from sklearn.inspection import permutation_importance
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    known = pd.DataFrame({"Sex": people["Sex"] == "female", "Pclass": people["Pclass"], "Age": people["Age"] / 30})
    known, saved = known.fillna(known.median()), people["Survived"]
    said = cross_val_predict(LogisticRegression(), known, saved, cv=10)
    fitted = LogisticRegression().fit(known, saved)
    worth = permutation_importance(fitted, known, saved, scoring="roc_auc", random_state=0).importances_mean
    IMPORTANCE.update(zip(known, worth, strict=True), accuracy=max(worth))
    return people.assign(right=said == people["Survived"])


def share(people: pd.DataFrame, draw: Callable, change: Callable, judge: Callable, rows: int, draws: int) -> float:
    """The share of `draws` (seeds 0, 1, 2 …) in which the judge raises the flag."""
    raised = 0
    for seed in range(draws):
        random = np.random.default_rng(seed)
        reference, current = draw(people, rows, random)
        raised += bool(judge(reference, change(current, random), seed))
    return raised / draws


def one_by_one(people: pd.DataFrame, rows: int, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    if rows <= len(people) / 2:
        order = random.permutation(len(people))
        return people.iloc[order[rows:]], people.iloc[order[:rows]].reset_index(drop=True)
    chosen = people.iloc[random.integers(0, len(people), rows)]
    copy = chosen.groupby("PassengerId").cumcount().astype(str)  # the second of a person is on a second ship
    return people, chosen.assign(Ticket=chosen["Ticket"] + " " + copy).reset_index(drop=True)


def in_parties(people: pd.DataFrame, rows: int, random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    parties = [places for _, places in sorted(people.groupby("Ticket").indices.items())]
    again = rows > len(people) / 2
    order = random.integers(0, len(parties), rows) if again else random.permutation(len(parties))
    sizes = np.cumsum([len(parties[number]) for number in order])
    order = order[: int(np.searchsorted(sizes, rows)) + 1]
    chosen = np.concatenate([parties[number] for number in order])
    current = people.iloc[chosen].reset_index(drop=True)
    if not again:
        return people.drop(people.index[chosen]), current
    copy = np.repeat(np.arange(len(order)), [len(parties[number]) for number in order])
    return people, current.assign(Ticket=current["Ticket"] + " " + copy.astype(str))


def monitoring(reference: pd.DataFrame, current: pd.DataFrame, seed: int) -> bool:
    kinds = column_kinds(TABLE, reference)
    groups = group_codes(TABLE, reference), group_codes(TABLE, current)
    before, after = comparable(TABLE, reference, kinds), comparable(TABLE, current, kinds)
    findings = compare(before, after, kinds, MIN_EFFECT, groups)
    findings.append(accuracy(reference, current, groups))
    return decide(findings, ALPHA, len(reference), len(current), MIN_ROWS, IMPORTANCE).drift_detected


def accuracy(reference: pd.DataFrame, current: pd.DataFrame, groups: tuple[pd.Series, pd.Series]) -> Finding:
    """Against the out-of-fold accuracy of the reference."""
    right = current["right"].to_numpy()
    effects = design_effects(right, groups[1].to_numpy(), groups[0].to_numpy())
    return compare_accuracy(float(reference["right"].mean()), len(reference), right, MAX_DROP, effects)


def compared(reference: pd.DataFrame, current: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the others are given: the same columns, but for free text."""
    kinds = {name: kind for name, kind in column_kinds(TABLE, reference).items() if kind in ("number", "category")}
    kinds |= {"Cabin": MISSING}
    before, after = (comparable(TABLE, rows, kinds) for rows in (reference, current))
    return tuple(rows.assign(Cabin=rows["Cabin"].isna().map({True: "no", False: "yes"})) for rows in (before, after))


def evidently(reference: pd.DataFrame, current: pd.DataFrame, seed: int) -> bool:
    """Evidently's defaults: its choice of tests, and dataset drift where half of the columns drift."""
    from evidently import Dataset, Report
    from evidently.presets import DataDriftPreset

    before, after = (Dataset.from_pandas(rows) for rows in compared(reference, current))
    found = Report([DataDriftPreset()]).run(after, before).dict()["metrics"]
    return next(one["value"]["share"] for one in found if one["metric_name"].startswith("DriftedColumns")) >= 0.5


def classifier(reference: pd.DataFrame, current: pd.DataFrame, seed: int) -> bool:
    """Can a forest tell the two apart, out of its bags? Mann-Whitney on its probabilities."""
    from scipy.stats import mannwhitneyu
    from sklearn.ensemble import RandomForestClassifier

    both = pd.get_dummies(pd.concat(compared(reference, current)), dummy_na=True).fillna(-1).astype(float)
    new = np.repeat([False, True], [len(reference), len(current)])
    forest = RandomForestClassifier(100, min_samples_leaf=5, oob_score=True, random_state=seed).fit(both, new)
    said = forest.oob_decision_function_[:, 1]
    return bool(mannwhitneyu(said[new], said[~new], alternative="greater").pvalue < ALPHA)


if __name__ == "__main__":
    sys.exit(main())
