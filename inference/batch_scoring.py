"""Score a file of passengers in chunks. No MLflow here."""

import csv
import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from csv_chunks import read_chunks
from passenger_rows import ID, NUMBER, WHOLE, check, from_text, is_missing

PROBABILITY_DIGITS = 10  # of a probability: how a library sums, over one row or many, shows only after the 15th
HASH_RANGE = 2.0**64
# Classifiers whose predict() is the class with the largest probability, so that one pass gives both.
BY_PROBABILITY = {
    "ExtraTreesClassifier",
    "GradientBoostingClassifier",
    "HistGradientBoostingClassifier",
    "LogisticRegression",
    "RandomForestClassifier",
    "VotingClassifier",
}


@dataclass(frozen=True)
class Scorer:
    """A fitted classifier of 0 and 1, the columns it takes, and the name of its version."""

    classifier: Any  # scikit-learn's, which has no types
    kinds: dict[str, str]
    label: str = ""

    def __call__(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Predicted class and probability of survival (rounded), for rows in the model's types."""
        frame = frame[list(self.kinds)].astype({name: "int64" for name, kind in self.kinds.items() if kind == WHOLE})
        probability = self.classifier.predict_proba(frame)[:, 1]
        survived = (probability > 0.5).astype("int64")
        final_estimator = getattr(self.classifier, "steps", [(None, self.classifier)])[-1][1]
        # Near a tie, and for classifiers with a rule of their own, the model's own predict() decides.
        undecided = (
            np.abs(probability - 0.5) < 1e-9
            if type(final_estimator).__name__ in BY_PROBABILITY
            else np.ones(len(frame), bool)
        )
        if undecided.any():
            survived[undecided] = self.classifier.predict(frame[undecided])
        return survived, np.round(probability, PROBABILITY_DIGITS)


@dataclass
class Totals:
    """Counts and sums over a scored file."""

    rows: int = 0
    scored: int = 0
    survived: int = 0
    probability: float = 0.0
    errors_by_column: Counter[str] = field(default_factory=Counter)
    canary_rows: int = 0
    shadow_differ: int = 0
    shadow_distance: float = 0.0
    shadow_largest: float = 0.0

    def metrics(self, shadow: bool, canary: bool) -> dict[str, float]:
        """Rows, scored, errors; then shares, over the scored rows, where there are any."""
        scored = max(self.scored, 1)
        found: dict[str, float] = {"rows": self.rows, "scored": self.scored, "errors": self.rows - self.scored}
        found |= {f"errors_{name}": count for name, count in sorted(self.errors_by_column.items())}
        if self.scored:
            found |= {"survived_share": self.survived / scored, "mean_probability": self.probability / scored}
        if canary:
            found |= {"canary_rows": self.canary_rows}
        if shadow and self.scored:
            found |= {
                "shadow_agreement": 1 - self.shadow_differ / scored,
                "shadow_differences": self.shadow_differ,
                "shadow_mean_absolute_difference": self.shadow_distance / scored,
                "shadow_max_absolute_difference": self.shadow_largest,
            }
        return found


def score_file(
    source: Path,
    target: Path,
    model: Scorer,
    *,
    challenger: Scorer | None = None,
    canary: float = 0,
    shadow: Scorer | None = None,
    differences: Path | None = None,
    model_version_column: bool = False,
    chunk_rows: int = 20_000,
    progress: Callable[[int], object] = lambda position: None,
) -> Totals:
    """Write PassengerId, Survived, probability (model_version, error) for each row of `source`, in its order.

    The column `error` is there when any row has one. `differences` lists the rows where `shadow` predicts otherwise.
    `progress` is called with the bytes read so far. Memory holds `chunk_rows` rows, whatever the file's size.

    Raises:
        InputError: `source` is not a CSV file with the columns that the models take.
    """
    kinds = {ID: WHOLE}
    for scorer in filter(None, (model, challenger, shadow)):
        kinds |= {name: kind for name, kind in scorer.kinds.items() if kinds.get(name) in (None, NUMBER)}
    totals, output = Totals(), Output(target, model_version_column or canary > 0)
    if differences:
        write_lines(differences, [[ID, "Survived", "probability", "shadow_survived", "shadow_probability"]], "w")
    for table, position in read_chunks(source, list(kinds), chunk_rows):
        checked = check({name: from_text(table[name], kind) for name, kind in kinds.items()}, kinds)
        good = checked.good
        frame = checked.frame if good.all() else checked.frame[good]
        routed = in_canary(frame[ID], canary) if challenger else np.zeros(len(frame), bool)
        result = predict_rows(frame, routed, model, challenger)
        output.write(table[ID].to_pylist(), good, result, checked.reasons)
        totals.rows += len(good)
        totals.scored += len(frame)
        totals.survived += int(result["survived"].sum())
        totals.probability += float(result["probability"].sum())
        totals.canary_rows += int(routed.sum())
        totals.errors_by_column.update(checked.by_column)
        if shadow and len(frame):
            compare(totals, frame[ID], result, *shadow(frame), differences)
        progress(position)
    return totals


def predict_rows(frame: pd.DataFrame, routed: np.ndarray, model: Scorer, challenger: Scorer | None) -> pd.DataFrame:
    """survived, probability and version for each row of `frame`; the `routed` ones by the challenger."""
    result = pd.DataFrame({"survived": 0, "probability": 0.0, "version": model.label}, index=frame.index)
    for scorer, mask in ((model, ~routed), (challenger, routed)):
        if scorer and mask.any():
            survived, probability = scorer(frame if mask.all() else frame[mask])
            result.loc[mask, ["survived", "probability", "version"]] = pd.DataFrame(
                {"survived": survived, "probability": probability, "version": scorer.label}, index=frame.index[mask]
            )
    return result


def in_canary(passenger_ids: pd.Series, share: float) -> np.ndarray:
    """Which passengers belong to the canary's share: by a hash of PassengerId, so the same ones every time.

    A larger share holds everyone of a smaller one.
    """
    if share <= 0:
        return np.zeros(len(passenger_ids), bool)
    digests = (hashlib.sha256(b"canary:%d" % int(key)).digest()[:8] for key in passenger_ids)
    return np.fromiter((int.from_bytes(digest, "big") / HASH_RANGE < share for digest in digests), bool)


def compare(
    totals: Totals,
    passenger_ids: pd.Series,
    result: pd.DataFrame,
    survived: np.ndarray,
    probability: np.ndarray,
    differences: Path | None,
) -> None:
    """Count where the shadow (`survived`, `probability`) predicts otherwise than what was answered, and list it."""
    distance = np.abs(result["probability"].to_numpy() - probability)
    differ = result["survived"].to_numpy() != survived
    totals.shadow_differ += int(differ.sum())
    totals.shadow_distance += float(distance.sum())
    totals.shadow_largest = max(totals.shadow_largest, float(distance.max()))
    if differences and differ.any():
        listed = result.assign(id=passenger_ids.astype("int64"), shadow=survived, shadow_probability=probability)[
            differ
        ]
        columns = listed[["id", "survived", "probability", "shadow", "shadow_probability"]]
        write_lines(differences, zip(*(columns[name].tolist() for name in columns), strict=True), "a")


class Output:
    """predictions.csv as it grows; the column `error` is added to what is there when the first error comes."""

    def __init__(self, path: Path, version_column: bool) -> None:
        self.path = path
        self.header = [ID, "Survived", "probability"] + ["model_version"] * version_column
        self.errors = False
        write_lines(path, [self.header], "w")

    def write(self, ids: list[str], good: np.ndarray, result: pd.DataFrame, reasons: np.ndarray) -> None:
        """Append a row for each of `ids`; `result` has those of the `good` ones."""
        if not self.errors and not good.all():
            self.add_error_column()
        columns: list[list[object]] = [[""] * len(ids) for _ in self.header[1:]]
        for column, name in zip(columns, ("survived", "probability", "version"), strict=False):
            values = result[name].tolist()
            if len(values) == len(ids):
                column[:] = values
            else:
                for place, value in zip(np.flatnonzero(good), values, strict=True):
                    column[place] = value
        if self.errors:
            columns.append(reasons.tolist())
        ids = [passenger_id_text(cell) for cell in ids]
        write_lines(self.path, zip(ids, *columns, strict=True), "a")

    def add_error_column(self) -> None:
        """Add the empty column `error`: so far every row was good, and none holds a line break."""
        self.errors = True
        widened = self.path.with_name(self.path.name + ".wide")
        with self.path.open(newline="") as narrow, widened.open("w", newline="") as file:
            file.write(next(narrow).rstrip("\n") + ",error\n")
            file.writelines(line[:-1] + ",\n" for line in narrow)
        shutil.move(widened, self.path)


def passenger_id_text(cell: str) -> str:
    """The PassengerId as it is written to predictions.csv: trimmed, "" where it is empty."""
    return "" if is_missing(cell) else cell.strip()


def write_lines(path: Path, rows: Iterable[Iterable[object]], mode: str) -> None:
    with path.open(mode, encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
