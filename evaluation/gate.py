"""Whether a challenger may become champion: every reason against it, together. No MLflow here."""

import math
from dataclasses import dataclass

import pandas as pd
from comparison import Difference
from evaluation_model import EvaluationError


@dataclass(frozen=True)
class Gate:
    """What a model must reach; see MLproject for each."""

    min_accuracy: float
    min_auc: float
    max_calibration_error: float
    min_slice_accuracy: float
    min_slice_size: int
    tolerance: float
    min_compared: int


RANGES = {  # inclusive
    "min_accuracy": (float, 0, 1),
    "min_auc": (float, 0, 1),
    "max_calibration_error": (float, 0, 1),
    "min_slice_accuracy": (float, 0, 1),
    "min_slice_size": (int, 1, 10**9),
    "tolerance": (float, 0, 1),
    "min_compared": (int, 1, 10**9),
}


def parse_gate(texts: dict[str, str]) -> Gate:
    """The gate that the parameters' texts mean.

    Raises:
        EvaluationError: one or more are out of range; all of them are named.
    """
    values, problems = {}, []
    for name, (kind, low, high) in RANGES.items():
        try:
            values[name] = kind(texts[name])
            if not math.isfinite(values[name]) or not low <= values[name] <= high:
                raise ValueError
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            problems.append(f"{name}={texts[name]!r} is not {what} from {low} to {high:g}")
    if problems:
        raise EvaluationError("; ".join(problems))
    return Gate(**values)


def reasons_against(
    gate: Gate, metrics: dict[str, float], slices: pd.DataFrame, difference: Difference | None, compared: int | None
) -> list[str]:
    """Every reason why the model may not be released; none: it may.

    `difference` is to the champion, None where there is none to compare with; `compared` is the number of passengers
    that neither has seen, None without a champion.
    """
    reasons = []
    if metrics["accuracy"] < gate.min_accuracy:
        reasons.append(f"accuracy {metrics['accuracy']:.3f} is under min_accuracy {gate.min_accuracy:g}")
    if metrics["roc_auc"] < gate.min_auc:
        reasons.append(f"ROC AUC {metrics['roc_auc']:.3f} is under min_auc {gate.min_auc:g}")
    if metrics["calibration_error"] > gate.max_calibration_error:
        reasons.append(
            f"calibration error {metrics['calibration_error']:.3f} is over "
            f"max_calibration_error {gate.max_calibration_error:g}"
        )
    for row in slices.to_dict("records"):
        highest = wilson_upper(row["accuracy"], row["count"])
        if row["count"] >= gate.min_slice_size and highest < gate.min_slice_accuracy:
            reasons.append(
                f"accuracy {row['accuracy']:.3f} on the {row['count']} passengers of {row['by']} {row['slice']} "
                f"(95 % interval up to {highest:.3f}) is under min_slice_accuracy {gate.min_slice_accuracy:g}"
            )
    if compared is not None and compared < gate.min_compared:
        reasons.append(
            f"only {compared} of the held-out passengers are unseen by the champion too, under min_compared "
            f"{gate.min_compared}; train with the champion's split_seed and test_size"
        )
    if difference:
        for name, label in (("accuracy", "accuracy"), ("roc_auc", "ROC AUC")):
            value = getattr(difference, name)
            if value < -gate.tolerance:
                reasons.append(
                    f"{label} is {-value:.3f} under the champion's on the same {difference.rows} passengers "
                    f"(95 % interval of the difference {getattr(difference, name + '_low'):+.3f} to "
                    f"{getattr(difference, name + '_high'):+.3f}; McNemar p = {difference.mcnemar_p:.2g}), "
                    f"more than tolerance {gate.tolerance:g}"
                )
    return reasons


def wilson_upper(share: float, count: int, z: float = 1.96) -> float:
    """Upper end of the 95 % interval of a share of `count` (Wilson 1927).

    With some twenty slices one always looks bad by chance, so a slice fails only if its whole interval is too low.
    """
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (share + z * z / (2 * count) + half) / (1 + z * z / count)
