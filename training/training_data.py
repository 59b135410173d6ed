"""Read the cleaned list and split it. No MLflow here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

TARGET = "Survived"
INTEGERS = ["Pclass", "SibSp", "Parch"]
DECIMALS = ["Age", "Fare"]
TEXTS = ["Name", "Sex"]
FEATURES = ["Pclass", "Name", "Sex", "Age", "SibSp", "Parch", "Fare"]
MIN_ROWS = 20


class TrainingError(Exception):
    """The model cannot be trained from this input or with these parameters; the text is meant for the user."""


@dataclass(frozen=True)
class Split:
    """The list in its two parts, each in the file's own row order."""

    train: pd.DataFrame
    holdout: pd.DataFrame


def read_passengers(path: Path) -> pd.DataFrame:
    """The file's rows and columns: numbers as float64 (class, relatives: int64 where none is missing), text as object.

    Raises:
        TrainingError: not a CSV file, a column or target value missing, one class only, too few rows.
    """
    try:
        frame = pd.read_csv(path, dtype={name: "object" for name in [*TEXTS, "Ticket", "Cabin", "Embarked"]})
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise TrainingError(
            f"{path.name} is not a CSV file ({str(error).strip()}); give data_cleaning's output"
        ) from None
    except OSError as error:
        raise TrainingError(f"{path} cannot be read ({error.strerror}); give the path of a CSV file") from None
    refuse_missing_columns(frame, path)
    refuse_bad_numbers(frame, path)
    refuse_bad_target(frame, path)
    frame[DECIMALS] = frame[DECIMALS].astype("float64")
    return frame


def refuse_missing_columns(frame: pd.DataFrame, path: Path) -> None:
    """Raises TrainingError that names every column that is not there."""
    missing = [name for name in ["PassengerId", TARGET, *FEATURES] if name not in frame.columns]
    if missing:
        has = ", ".join(str(name)[:40] for name in frame.columns[:15])
        raise TrainingError(
            f"{path.name} has no column {', '.join(missing)} (it has: {has}); give data_cleaning's output"
        )


def refuse_bad_numbers(frame: pd.DataFrame, path: Path) -> None:
    """Raises TrainingError for text or infinite values among numbers, and for a PassengerId that is not unique."""
    texts = [name for name in INTEGERS + DECIMALS if frame[name].dtype == object]
    if texts:
        raise TrainingError(
            f"{path.name} has text where numbers belong, in {', '.join(texts)}; run data_cleaning on it first"
        )
    if infinite := [name for name in INTEGERS + DECIMALS if np.isinf(frame[name].to_numpy(dtype="float64")).any()]:
        raise TrainingError(f"{path.name} has infinite values in {', '.join(infinite)}; run data_cleaning on it first")
    ids = frame["PassengerId"]
    if not pd.api.types.is_integer_dtype(ids) or ids.duplicated().any():
        raise TrainingError(
            f"{path.name} has missing, repeated or non-integer PassengerId values; run data_cleaning on it first"
        )


def refuse_bad_target(frame: pd.DataFrame, path: Path) -> None:
    """Raises TrainingError if the outcome is missing, not 0 or 1, or the same for all; makes it int64."""
    target = frame[TARGET]
    if len(frame) < MIN_ROWS:
        raise TrainingError(
            f"{path.name} has {len(frame)} rows; at least {MIN_ROWS} are needed to train and judge a model"
        )
    if empty := int(target.isna().sum()):
        raise TrainingError(
            f"{path.name} has {empty} rows without {TARGET}; training needs the outcome of every passenger"
        )
    if wrong := sorted(set(target.unique()) - {0, 1}, key=str):
        raise TrainingError(f"{path.name} has {TARGET} values other than 0 and 1: {', '.join(map(str, wrong[:5]))}")
    if target.nunique() == 1:
        raise TrainingError(f"{path.name} has only {TARGET}={target.iloc[0]}; passengers of both outcomes are needed")
    frame[TARGET] = target.astype("int64")


def in_holdout(passenger_ids: pd.Series, test_size: float, split_seed: int) -> np.ndarray:
    """Which passengers are in the holdout: booleans of the same length.

    A passenger's place depends on PassengerId, `split_seed` and `test_size` (share, 0 to 1) alone, so that more rows,
    another order or another model seed move nobody; a larger `test_size` only adds to a smaller one's holdout.
    The hash is SplitMix64's finalizer (Steele, Lea, Flood 2014), applied twice.
    """
    with np.errstate(over="ignore"):
        seed = splitmix64(np.array([split_seed], dtype=np.int64).astype(np.uint64))
        mixed = splitmix64(passenger_ids.to_numpy().astype(np.int64).astype(np.uint64) ^ seed)
    held: np.ndarray = (mixed >> np.uint64(11)) * 2.0**-53 < test_size
    return held


def splitmix64(values: np.ndarray) -> np.ndarray:
    """uint64 to uint64, one to one; every bit of the input sways every bit of the output."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def split(passengers: pd.DataFrame, test_size: float, split_seed: int, smallest_class: int = 2) -> Split:
    """The training part and the holdout.

    Raises:
        TrainingError: the holdout lacks an outcome, or the training part has fewer than `smallest_class` of one.
    """
    in_test = in_holdout(passengers["PassengerId"], test_size, split_seed)
    parts = Split(passengers[~in_test], passengers[in_test])
    counts = parts.train[TARGET].value_counts().reindex([0, 1], fill_value=0)
    if parts.holdout[TARGET].nunique() < 2 or counts.min() < smallest_class:
        raise TrainingError(
            f"test_size={test_size:g} and split_seed={split_seed} leave {len(parts.train)} rows to train on "
            f"({counts[1]} survived) and {len(parts.holdout)} held out ({parts.holdout[TARGET].sum()} survived); "
            f"each part needs both outcomes, training at least {smallest_class} of each (cv_folds): "
            "give more rows or change these"
        )
    return parts
