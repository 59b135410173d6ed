"""How good a model's predictions are, as a whole and by slices, and one model against another. No MLflow here."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from predictions import PROBABILITY, probability_columns, rank_auc, score
from scipy.stats import binomtest, wilcoxon
from table import BINARY, REGRESSION, Table

WORDS = {"roc_auc": "ROC AUC", "r2": "R²", "rmse": "RMSE", "mae": "MAE", "brier": "Brier score"}
IN_UNITS = {"rmse", "mae", "mean", "mean_error"}  # of the target, whatever size that is
LEAST_PROBABILITY = (
    0.001  # that log loss counts: one row of which a model was sure and wrong must not outweigh a thousand
)
CERTAIN = 1e6  # instead of an infinite t: the same difference on every row
GAPS = {"accuracy", "selected", "mae", "mean_error"}  # what slices are compared in
Measure = Callable[[np.ndarray], dict[str, float]]  # places of rows -> metrics of these rows


def word(metric: str) -> str:
    return WORDS.get(metric, metric.replace("_", " "))


def figure(metric: str, value: float, sign: str = "") -> str:
    """A metric's value as text, to three decimals or, in the target's unit, five digits."""
    return format(value, f"{sign}.5g" if metric in IN_UNITS else f"{sign}.3f")


def metrics_of(table: Table, truth: np.ndarray, predicted: pd.DataFrame) -> dict[str, float]:
    """`predictions.score`, and for classes the calibration error: of the positive one of two, else of the one said."""
    found = score(table, truth, predicted)
    if table.task == BINARY:
        found["calibration_error"] = calibration_error(truth == table.positive, predicted[PROBABILITY].to_numpy())
    elif table.task != REGRESSION:
        said = predicted[table.target.name].to_numpy()
        places = {value: f"{PROBABILITY}_{table.class_text(value)}" for value in table.classes}
        sure = np.select([said == value for value in places], [predicted[name] for name in places.values()])
        found["calibration_error"] = calibration_error(truth == said, sure)
    return found


def calibration_error(outcome: np.ndarray, probability: np.ndarray, groups: int = 5) -> float:
    """Expected calibration error: rows in order of probability in `groups` equal parts; the mean distance between a
    part's mean probability and the share of it where the outcome (booleans) came about."""
    parts = np.array_split(np.argsort(probability, kind="stable"), groups)
    gaps = [abs(outcome[part].mean() - probability[part].mean()) * len(part) for part in parts if len(part)]
    return float(sum(gaps) / len(outcome))


def compare(
    table: Table,
    truth: np.ndarray,
    challenger: pd.DataFrame,
    champion: pd.DataFrame,
    groups: np.ndarray | None = None,
    draws: int = 1000,
) -> dict[str, float]:
    """Challenger minus champion, of predictions for the same rows; `groups`: which ones belong together, None: none.

    `rows`; `loss`, the mean of `losses`, and `loss_t`, its `paired_t`, negative where the challenger is worse;
    each metric compared, with `_low` and `_high`, the ends of its 95 % bootstrap interval (rows are drawn, so
    that both models are always judged on the same ones); and the p-value of a test of the two on the same rows. Of
    classes that is McNemar's exact one, which asks whether the rows on which only one model is right could be split so
    by a fair coin; of numbers Wilcoxon's signed-rank test of the absolute errors.
    """
    target = table.target.name
    said = [one[target].to_numpy() for one in (challenger, champion)]
    if table.task == REGRESSION:
        measures = [number_measure(truth, one) for one in said]
    else:
        areas = [one[PROBABILITY].to_numpy() if table.task == BINARY else None for one in (challenger, champion)]
        measures = [
            class_measure(truth == one, truth == table.positive, area) for one, area in zip(said, areas, strict=True)
        ]

    def difference(rows: np.ndarray) -> dict[str, float]:
        ours, theirs = (measure(rows) for measure in measures)
        return {name: value - theirs[name] for name, value in ours.items()}

    generator, count = np.random.default_rng(0), len(truth)
    drawn = pd.DataFrame([difference(generator.integers(0, count, count)) for _ in range(draws)])
    worse = losses(table, truth, challenger) - losses(table, truth, champion)
    found: dict[str, float] = {"rows": count, "loss": float(worse.mean()), "loss_t": paired_t(-worse, groups)}
    for name, value in difference(np.arange(count)).items():
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        found |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
    if table.task == REGRESSION:
        errors = [np.abs(one - truth) for one in said]
        p = 1.0 if np.array_equal(*errors) else float(wilcoxon(*errors).pvalue)
        return found | {"wilcoxon_p": p}
    right = [one == truth for one in said]
    gained, lost = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return found | {"only_challenger_right": gained, "only_champion_right": lost, "mcnemar_p": p}


def losses(table: Table, truth: np.ndarray, predicted: pd.DataFrame) -> np.ndarray:
    """What each row costs: of classes the log loss in nats, of a number the absolute error in the target's unit."""
    said = predicted[table.target.name].to_numpy()
    if table.task == REGRESSION:
        return np.asarray(np.abs(said - truth))
    if table.task == BINARY:
        probability = predicted[PROBABILITY].to_numpy(float)
        likelihood = np.where(truth == table.positive, probability, 1 - probability)
    else:
        columns = probability_columns(table)
        likelihood = np.select([truth == value for value in columns.values()], [predicted[name] for name in columns])
    return np.asarray(-np.log(np.clip(likelihood, LEAST_PROBABILITY, 1)))


def paired_t(better: np.ndarray, groups: np.ndarray | None = None) -> float:
    """The t statistic of the mean of differences on the same rows: mean by standard error; 0 where all are 0.

    Rows with the same number in `groups` may be alike, so the standard error is that of whole groups (Liang and Zeger,
    "Longitudinal data analysis using generalized linear models", Biometrika 73, 1986); None: each row is one.
    """
    mean = float(better.mean())
    sums = better - mean if groups is None else np.bincount(np.unique(groups, return_inverse=True)[1], better - mean)
    if len(sums) < 2:
        return 0.0
    error = np.sqrt(len(sums) / (len(sums) - 1) * float((sums**2).sum())) / len(better)
    if error * np.sqrt(len(better)) < 1e-12 * max(1.0, abs(mean)):
        return float(np.sign(mean)) * CERTAIN if abs(mean) > 1e-12 else 0.0
    return float(np.clip(mean / error, -CERTAIN, CERTAIN))


def class_measure(right: np.ndarray, positive: np.ndarray, probability: np.ndarray | None) -> Measure:
    """Accuracy, and with two classes' probability ROC AUC, of any rows."""
    if probability is None:
        return lambda rows: {"accuracy": float(right[rows].mean())}
    rank = np.unique(probability, return_inverse=True)[1]
    return lambda rows: {"accuracy": float(right[rows].mean()), "roc_auc": rank_auc(positive[rows], rank[rows])}


def number_measure(truth: np.ndarray, said: np.ndarray) -> Measure:
    """R² (0 where the truth is all the same) and mean absolute error of any rows."""
    errors = said - truth

    def measure(rows: np.ndarray) -> dict[str, float]:
        spread = float(((truth[rows] - truth[rows].mean()) ** 2).sum())
        r2 = 1 - float((errors[rows] ** 2).sum()) / spread if spread else 0.0
        return {"r2": r2, "mae": float(np.abs(errors[rows]).mean())}

    return measure


def slices(table: Table, rows: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Metrics by the declaration's slices and their combinations, up to three (fairlearn's MetricFrame).

    One row for each slice that has rows: `by` (its columns), `slice`, `count`; for classes `accuracy`, for two also
    `positive` and `selected`, the shares that are and that are said to be positive; for a number the target's `mean`,
    `mae` and `mean_error` (predicted minus true), in its unit. Empty where the declaration has no slices.
    """
    if not table.slices:
        return pd.DataFrame(columns=["by", "slice", "count"])
    from fairlearn.metrics import MetricFrame, count, mean_prediction, selection_rate
    from sklearn.metrics import accuracy_score, mean_absolute_error

    truth, said = rows[table.target.name].to_numpy(), predicted[table.target.name].to_numpy()
    metrics: dict[str, Any] = {"count": count}
    if table.task == BINARY:
        truth, said = (truth == table.positive).astype(int), (said == table.positive).astype(int)
        metrics |= {"positive": lambda true, _: mean_prediction(true, true), "selected": selection_rate}
    if table.task == REGRESSION:
        metrics |= {
            "mean": lambda true, _: mean_prediction(true, true),
            "mae": mean_absolute_error,
            "mean_error": lambda true, said: mean_prediction(true, said) - mean_prediction(true, true),
        }
    else:
        metrics |= {"accuracy": accuracy_score}
    groups = pd.DataFrame({one.name: one.groups(rows[one.name]) for one in table.slices})
    found = []
    for size in (1, 2, 3):
        for columns in combinations(groups.columns, size):
            frame = MetricFrame(
                metrics=metrics, y_true=truth, y_pred=said, sensitive_features=groups[list(columns)]
            ).by_group
            for key, values in frame.dropna(subset=["count"]).iterrows():
                name = ", ".join(map(str, key if isinstance(key, tuple) else (key,)))
                found.append({"by": " x ".join(columns), "slice": name, **values.astype(float)})
    return pd.DataFrame(found).astype({"count": int})


def largest_gaps(found: pd.DataFrame, min_count: int) -> dict[str, dict[str, float]]:
    """By grouping, the largest difference in what slices of `min_count` rows or more are compared in."""
    large = found[found["count"] >= min_count]
    return {
        str(by): {name: float(part[name].max() - part[name].min()) for name in found.columns if name in GAPS}
        for by, part in large.groupby("by", sort=False)
    }
