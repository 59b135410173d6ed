"""Score a clean table in chunks, and write a line for each row of the file that it was made from. No MLflow here."""

import contextlib
import csv
import functools
import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from byte_ranges import ByteRange, header_range, open_ranges
from explanation import strongest
from predictions import probability_columns
from saved_model import SavedModel
from sharing import ONE_PROCESS, Sharing
from step_error import StepError, first_line
from table import BINARY, REGRESSION, ROW_NUMBER, Table, metric_name, read_header

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

    def merge(self, other: "Totals") -> None:
        """Take in the counts and sums of further rows of the same table."""
        self.rows += other.rows
        self.scored += other.scored
        self.predicted += other.predicted
        self.total += other.total
        self.canary_rows += other.canary_rows
        self.shadow_differ += other.shadow_differ
        self.shadow_distance += other.shadow_distance
        self.shadow_largest = max(self.shadow_largest, other.shadow_largest)

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


@dataclass(frozen=True)
class Job:
    """What scoring any part of a clean table takes. `header` are the columns of the predictions but `error`."""

    source: Path
    head: ByteRange
    model: SavedModel
    challenger: SavedModel | None
    canary: float
    shadow: SavedModel | None
    header: list[str]
    error: bool  # whether there is a column error, which is empty in what is scored
    reasons: bool
    chunk_rows: int

    @property
    def answer(self) -> list[str]:
        """The columns of a prediction."""
        return [self.model.table.target.name, *probability_columns(self.model.table)]


@dataclass
class Part:
    """What came of the rows of a part: a line of predictions for each, and lines where the shadow differs."""

    totals: Totals
    lines: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)


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
    sharing: Sharing = ONE_PROCESS,
) -> Totals:
    """Write key, target, probabilities (model_version, reasons, error) of each row, in the original file's order.

    `source` is a clean table, `rejected` data_cleaning's list of the rows that are not in it: these have no prediction,
    and their reason in the column `error`. `differences` lists the rows where `shadow` predicts otherwise. `reasons`
    asks for what contributes most to each prediction (see `explanation`). `progress` is called with the rows of each
    part. `sharing` says who does the work: the files are the same, byte for byte. A process holds `chunk_rows` rows in
    memory, and the lines of some parts of 8 MB, whatever the files' size.

    Raises:
        StepError: `source` is not clean, `rejected` does not belong to it, or the models answer different questions.
    """
    table = model.table
    for role, other in (("challenger", challenger), ("shadow", shadow)):
        if other:
            refuse_other_question(role, other, model)
    waiting = read_rejected(rejected, table, chunk_rows) if rejected else iter(())
    first = next(waiting, None)
    read_header(source)  # which tells of a file that is none
    header = [table.key.name, table.target.name, *probability_columns(table)]
    header += ["model_version"] * (model_version_column or canary > 0) + ["reasons"] * reasons
    options = (challenger, canary, shadow, header, first is not None, reasons, chunk_rows)
    job, totals = Job(source, header_range(source), model, *options), Totals(table)
    with contextlib.ExitStack() as files:
        predictions = files.enter_context(target.open("w", encoding="utf-8", newline=""))
        predictions.writelines(csv_lines([header + ["error"] * job.error]))
        if differences:
            others = files.enter_context(differences.open("w", encoding="utf-8", newline=""))
            others.writelines(csv_lines([[table.key.name, *job.answer, *(f"shadow_{name}" for name in job.answer)]]))

        def scored() -> Iterator[list[str]]:
            for part in score_parts(job, sharing):
                totals.merge(part.totals)
                if differences:
                    others.writelines(part.differences)
                progress(len(part.lines))
                yield part.lines

        for lines in in_their_places(scored(), first, waiting, len(header), totals):
            predictions.writelines(lines)
    return totals


def score_parts(job: Job, sharing: Sharing) -> Iterator[Part]:
    """The parts of the file in their order.

    Raises:
        StepError: the file is not clean; which row is not is counted from the file's beginning.
    """
    try:
        yield from sharing.each(score_part, job, job.source, job.head)
    except StepError:
        for _ in rows_of(job):
            pass
        raise


def rows_of(job: Job, part: ByteRange | None = None) -> Iterator[pd.DataFrame]:
    """The rows that are to be scored, of a part or of the whole file, at most `chunk_rows` at a time."""
    columns = [name for one in (job.model, job.challenger, job.shadow) if one for name in one.wanted]
    options: dict[str, Any] = {"target": "none", "columns": columns}
    if part:
        options["part"] = functools.partial(open_ranges, job.source, job.head, part)
    yield from job.model.table.read_chunks(job.source, job.chunk_rows, **options)


def score_part(job: Job, part: ByteRange) -> Part:
    """Predict for the rows of a part of the file."""
    table, done = job.model.table, Part(Totals(job.model.table))
    for rows in rows_of(job, part):
        if rows.empty:
            continue
        keys = rows[table.key.name]
        routed = in_canary(keys, job.canary) if job.challenger else np.zeros(len(rows), bool)
        said = in_words(table, predict_rows(rows, routed, job.model, job.challenger, job.reasons))
        done.totals.add(said)
        done.totals.canary_rows += int(routed.sum())
        if job.shadow:
            shadow = in_words(table, job.shadow.predict(rows))
            done.differences += compare(done.totals, keys, said[job.answer], shadow)
        empty = [itertools.repeat("", len(rows))] * job.error
        done.lines += csv_lines(
            zip(keys.tolist(), *(said[name].tolist() for name in job.header[1:]), *empty, strict=True)
        )
    return done


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


def compare(totals: Totals, keys: pd.Series, said: pd.DataFrame, shadow: pd.DataFrame) -> list[str]:
    """Count where the shadow predicts otherwise than what was answered; these rows as lines. Both as in `in_words`.

    The distance is that of the probabilities (of several the largest), or of the predicted numbers.
    """
    target = totals.table.target.name
    numbers = list(probability_columns(totals.table)) or [target]
    distance = (said[numbers] - shadow[numbers]).abs().max(axis=1)
    differ = said[target] != shadow[target]
    totals.shadow_differ += int(differ.sum())
    totals.shadow_distance += float(distance.sum())
    totals.shadow_largest = max(totals.shadow_largest, float(distance.max()))
    listed = pd.concat([keys, said, shadow], axis=1)[differ]
    return csv_lines(zip(*(listed.iloc[:, place].tolist() for place in range(listed.shape[1])), strict=True))


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
    scored: Iterable[list[str]],
    first: Rejected | None,
    others: Iterator[Rejected],
    width: int,
    totals: Totals,
) -> Iterator[list[str]]:
    """The lines of scored rows, with those of the rejected ones, of `width` cells and the reason, where they were.

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

    for lines in scored:
        done = 0
        while waiting and waiting[0] < row + len(lines) - done:  # up to the next rejected row
            before = waiting[0] - row
            yield lines[done : done + before]
            done, row = done + before, row + before
            yield csv_lines(rejected_here())
        yield lines[done:]
        row += len(lines) - done
    yield csv_lines(rejected_here())
    if waiting:
        raise StepError(
            f"the rejected rows are not those of the input: row {row} is neither in it nor rejected; give the "
            "rejected.csv that was made with the input"
        )


def csv_lines(rows: Iterable[Iterable[object]]) -> list[str]:
    """Each row as CSV, with its line end."""
    lines = Lines()
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines


class Lines(list[str]):
    """Takes what `csv` writes: a text for each row."""

    write = list.append
