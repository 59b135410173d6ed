"""The parameters of a training: all checked at once, before anything is read. No MLflow here."""

import math
import re
from dataclasses import dataclass
from typing import TypeVar

from estimators import RANGES, hyperparameters
from training_data import TrainingError

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Settings:
    """What to train and how to judge it; see MLproject for each."""

    model: str
    values: dict[str, object]
    fixed: set[str]  # hyperparameters that were given, which a search leaves alone
    test_size: float
    split_seed: int
    seed: int
    cv_folds: int
    cv_repeats: int
    search_trials: int
    plots: bool
    model_name: str


def parse_settings(texts: dict[str, str]) -> Settings:
    """The settings that the parameters' texts mean.

    Raises:
        TrainingError: one or more are out of range; all of them are named.
    """
    problems: list[str] = []

    def number(name: str, kind: type[Number], low: Number, high: Number) -> Number:
        try:
            value = kind(texts[name])
            if not low <= value <= high or not math.isfinite(value):
                raise ValueError
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            problems.append(f"{name}={texts[name]!r} is not {what} from {low:g} to {high:g}")
            return low
        return value

    values: dict[str, object] = {}
    try:
        values = hyperparameters(texts["model"], {name: texts[name] for name in RANGES})
    except TrainingError as error:
        problems.append(str(error))
    settings = Settings(
        model=texts["model"],
        values=values,
        fixed={name for name in RANGES if texts[name].strip()},
        test_size=number("test_size", float, 0.01, 0.9),
        split_seed=number("split_seed", int, 0, 2**31 - 1),
        seed=number("seed", int, 0, 2**31 - 1),
        cv_folds=number("cv_folds", int, 2, 100),
        cv_repeats=number("cv_repeats", int, 0, 100),
        search_trials=number("search_trials", int, 0, 10_000),
        plots=texts["plots"] == "true",
        model_name=texts["model_name"],
    )
    if texts["plots"] not in ("true", "false"):
        problems.append(f"plots={texts['plots']!r} is not true or false")
    if not re.fullmatch(r"[\w.-][\w .-]{0,99}", settings.model_name):
        problems.append(f"model_name={settings.model_name!r} is not a name of letters, digits, spaces, dots, - and _")
    if problems:
        raise TrainingError("; ".join(problems))
    return settings
