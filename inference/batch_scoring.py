"""Score a clean table in chunks, and write a line for each row of the file that it was made from. No MLflow here."""

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from declaration import BINARY, REGRESSION, ROW_NUMBER, Table, metric_name
from explanation import strongest
from predictions import probability_columns
from saved_model import SavedModel
from step_error import StepError, first_line

HASH_RANGE = 2.0**64
DUPLICATE = "duplicate"  # the reason of a row that an earlier one repeats: nothing is wrong with it
REJECTED_COLUMNS = ["row", "line", "reason"]  # the first ones of rejected.csv

Rejected = tuple[int, str, str]  # a row's place in the original file, from 1; its key; why it was not let through


@dataclass
class Totals:
    """Counts and sums over a scored file of that table."""

    table: Table
    rows: int = 0
    scored: int = 0
    duplicates: int = 0  # rows without a prediction that only repeat another one
    errors: Counter[str] = field(default_factory=Counter)  # reason -> rows
    predicted: Counter[str] = field(default_factory=Counter)  # class, as it is written -> rows
    total: float = 0.0  # of the probabilities of two classes, or of the predicted numbers
    canary_rows: int = 0
    shadow_differ: int = 0
    shadow_distance: float = 0.0
    shadow_largest: float = 0.0

    def add(self, said: pd.DataFrame) -> None:
        """Count what was predicted, as `in_words` has it."""
        self.rows += len(said)
        self.scored += len(said)
        target = self.table.target.name
        if self.table.task != REGRESSION:
            self.predicted.update(said[target].tolist())
        if self.table.task in (BINARY, REGRESSION):
            (column,) = probability_columns(self.table) or [target]
            self.total += float(said[column].sum())

    def add_rejected(self, reason: str) -> None:
        self.rows += 1
        self.duplicates += reason == DUPLICATE
        self.errors.update(reason.split("; "))

    @property
    def error_share(self) -> float:
        """Of all rows, those that have no prediction because something is wrong with them."""
        return (self.rows - self.scored - self.duplicates) / max(self.rows, 1)

    def metrics(self, shadow: bool, canary: bool) -> dict[str, float]:
        """Rows, scored, errors (of each reason, too); then shares and means over the scored rows, if there are any."""
        found: dict[str, float] = {"rows": self.rows, "scored": self.scored, "errors": self.rows - self.scored}
        found |= {f"errors_{reason}": count for reason, count in sorted(self.errors.items())}
        if self.scored:
            for value in self.table.classes:
                share = self.predicted[self.table.class_text(value)] / self.scored
                found[f"predicted_share_{self.table.class_label(value)}"] = share
            if self.table.task == BINARY:
                found["mean_probability"] = self.total / self.scored
            if self.table.task == REGRESSION:
                found["mean_prediction"] = self.total / self.scored
        if canary:
            found["canary_rows"] = self.canary_rows
        if shadow and self.scored:
            if self.table.task != REGRESSION:
                found["shadow_agreement"] = 1 - self.shadow_differ / self.scored
            found["shadow_differences"] = self.shadow_differ
            found["shadow_mean_absolute_difference"] = self.shadow_distance / self.scored
            found["shadow_max_absolute_difference"] = self.shadow_largest
        return {metric_name(name): value for name, value in found.items()}


def score_file(
    source: Path,
    target: Path,
    model: SavedModel,
    *,
    rejected: Path | None = None,
    challenger: SavedModel | None = None,
    canary: float = 0,
    shadow: SavedModel | None = None,
    differences: Path | None = None,
    model_version_column: bool = False,
    reasons: bool = False,
    chunk_rows: int = 20_000,
    progress: Callable[[int], object] = lambda rows: None,
) -> Totals:
    """Write key, target, probabilities (model_version, reasons, error) of each row, in the original file's order.

    `source` is a clean table, `rejected` data_cleaning's list of the rows that are not in it: these have no prediction,
    and their reason in the column `error`. `differences` lists the rows where `shadow` predicts otherwise. `reasons`
    asks for what contributes most to each prediction (see `explanation`). `progress` is called with the rows of each
    chunk. Memory holds `chunk_rows` rows, whatever the files' size.

    Raises:
        StepError: `source` is not clean, `rejected` does not belong to it, or the models answer different questions.
    """
    table, totals = model.table, Totals(model.table)
    for role, other in (("challenger", challenger), ("shadow", shadow)):
        if other:
            refuse_other_question(role, other, model)
    columns = [name for one in (model, challenger, shadow) if one for name in one.wanted]
    answer = [table.target.name, *probability_columns(table)]
    header = [table.key.name, *answer] + ["model_version"] * (model_version_column or canary > 0)
    header += ["reasons"] * reasons
    if differences:
        write_lines(differences, [[table.key.name, *answer, *(f"shadow_{name}" for name in answer)]], "w")

    def scored() -> Iterator[tuple[object, ...]]:
        for rows in table.read_chunks(source, chunk_rows, target="none", columns=columns):
            if rows.empty:
                continue
            keys = rows[table.key.name]
            routed = in_canary(keys, canary) if challenger else np.zeros(len(rows), bool)
            said = in_words(table, predict_rows(rows, routed, model, challenger, reasons))
            totals.add(said)
            totals.canary_rows += int(routed.sum())
            if shadow:
                compare(totals, keys, said[answer], in_words(table, shadow.predict(rows)), differences)
            progress(len(rows))
            yield from zip(keys.tolist(), *(said[name].tolist() for name in header[1:]), strict=True)

    waiting = read_rejected(rejected, table, chunk_rows) if rejected else iter(())
    first = next(waiting, None)
    write_lines(target, [header + ["error"] * (first is not None)], "w")
    write_lines(target, in_their_places(scored(), first, waiting, len(header), totals), "a")
    return totals


def refuse_other_question(role: str, other: SavedModel, model: SavedModel) -> None:
    """Raises StepError unless `other` predicts the same thing, from columns that the model's table has."""
    ours, theirs = model.table, other.table
    if theirs.question != ours.question:
        raise StepError(
            f"{role} {other} predicts {theirs.target.name} ({theirs.task}), but {model} {ours.target.name} "
            f"({ours.task}) with its own classes; give a {role} for the same table"
        )
    for name in other.columns:
        kind = ours.by_name[name].type if name in ours.by_name else "nothing of that name"
        if kind != theirs.by_name[name].type:
            raise StepError(
                f"{role} {other} reads {name} ({theirs.by_name[name].type}), where the table of {model} has {kind}; "
                f"give a {role} for the same table"
            )


def predict_rows(
    rows: pd.DataFrame, routed: np.ndarray, model: SavedModel, challenger: SavedModel | None, reasons: bool
) -> pd.DataFrame:
    """What `SavedModel.predict` gives, model_version and reasons if wanted, of each row; `routed` by the challenger."""
    parts = []
    for one, mask in ((model, ~routed), (challenger, routed)):
        if one and mask.any():
            own = rows if mask.all() else rows[mask]
            said = one.predict(own).assign(model_version=one.label)
            parts.append(said.assign(reasons=in_text(strongest(one, own))) if reasons else said)
    return parts[0] if len(parts) == 1 else pd.concat(parts).loc[rows.index]


def in_text(reasons: list[dict[str, float]]) -> list[str]:
    """Each row's reasons in a cell: `size +0.31; colour -0.02`."""
    return ["; ".join(f"{name} {value:+g}" for name, value in one.items()) for one in reasons]


def in_words(table: Table, said: pd.DataFrame) -> pd.DataFrame:
    """Predictions with the classes as they are written in a file."""
    words = {value: table.class_text(value) for value in table.classes}
    return said.assign(**{table.target.name: said[table.target.name].map(words)}) if words else said


def in_canary(keys: pd.Series, share: float, purpose: str = "canary") -> np.ndarray:
    """Which rows belong to the canary's share: by a hash of their key, so the same ones every time.

    A larger share holds every row of a smaller one. Another `purpose` makes another, independent choice.
    """
    if share <= 0:
        return np.zeros(len(keys), bool)
    digests = (hashlib.sha256(f"{purpose}:{key}".encode()).digest()[:8] for key in keys)
    return np.fromiter((int.from_bytes(digest, "big") / HASH_RANGE < share for digest in digests), bool)


def compare(
    totals: Totals, keys: pd.Series, said: pd.DataFrame, shadow: pd.DataFrame, differences: Path | None
) -> None:
    """Count where the shadow predicts otherwise than what was answered, and list it; both as `in_words` gives them.

    The distance is that of the probabilities (of several the largest), or of the predicted numbers.
    """
    target = totals.table.target.name
    numbers = list(probability_columns(totals.table)) or [target]
    distance = (said[numbers] - shadow[numbers]).abs().max(axis=1)
    differ = said[target] != shadow[target]
    totals.shadow_differ += int(differ.sum())
    totals.shadow_distance += float(distance.sum())
    totals.shadow_largest = max(totals.shadow_largest, float(distance.max()))
    if differences and differ.any():
        listed = pd.concat([keys, said, shadow], axis=1)[differ]
        cells = (listed.iloc[:, place].tolist() for place in range(listed.shape[1]))
        write_lines(differences, zip(*cells, strict=True), "a")


def read_rejected(path: Path, table: Table, rows: int) -> Iterator[Rejected]:
    """The rows that data_cleaning did not let through, in their order; at most `rows` in memory.

    Raises:
        StepError: it is not such a list.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header = next(csv.reader(file), [])
        if header[: len(REJECTED_COLUMNS)] != REJECTED_COLUMNS:
            raise ValueError(f"it does not begin with {', '.join(REJECTED_COLUMNS)}")
        # By place: a column of the table may have the same name as one of the first three.
        columns = header[len(REJECTED_COLUMNS) :]
        numbered = table.key.name == ROW_NUMBER and ROW_NUMBER not in columns  # the key is of data_cleaning's making
        key = 0 if numbered else len(REJECTED_COLUMNS) + columns.index(table.key.name)
        options = {"dtype": str, "keep_default_na": False, "encoding": "utf-8", "usecols": sorted({0, 2, key})}
        with pd.read_csv(path, chunksize=rows, **options) as reader:  # type: ignore[call-overload]  # it is all there
            for chunk in reader:
                numbers, reasons = chunk.iloc[:, 0].astype("int64"), chunk.iloc[:, 1]
                keys = chunk.iloc[:, 0 if numbered else -1].str.strip()
                yield from zip(numbers.tolist(), keys.tolist(), reasons.tolist(), strict=True)
    except OSError as error:
        raise StepError(f"rejected {str(path)!r} cannot be read ({error.strerror}); give rejected.csv") from None
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise StepError(
            f"{path.name} is not data_cleaning's list of rejected rows ({first_line(error)}); give the rejected.csv "
            "that was made with the input"
        ) from None


def in_their_places(
    scored: Iterable[tuple[object, ...]],
    first: Rejected | None,
    others: Iterator[Rejected],
    width: int,
    totals: Totals,
) -> Iterator[tuple[object, ...]]:
    """The lines of scored rows, each of `width` cells, with those of the rejected ones where they were.

    Raises:
        StepError: a row is neither scored nor rejected, or rejected twice.
    """
    row, waiting = 1, first
    empty = ("",) * (width - 1)

    def rejected_here() -> Iterator[tuple[object, ...]]:
        nonlocal row, waiting
        while waiting and waiting[0] <= row:
            number, key, reason = waiting
            if number < row:
                raise StepError(f"the rejected rows are not those of the input: row {number} is there twice")
            totals.add_rejected(reason)
            yield (key, *empty, reason)
            row, waiting = row + 1, next(others, None)

    if waiting is None:
        yield from scored
        return
    for line in scored:
        yield from rejected_here()
        yield (*line, "")
        row += 1
    yield from rejected_here()
    if waiting:
        raise StepError(
            f"the rejected rows are not those of the input: row {row} is neither in it nor rejected; give the "
            "rejected.csv that was made with the input"
        )


def write_lines(path: Path, rows: Iterable[Iterable[object]], mode: str) -> None:
    with path.open(mode, encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
