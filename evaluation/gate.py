"""Whether a challenger may become champion: every reason against it, together. No MLflow here.

Two parts. By itself a model must reach what is asked of it (`reasons_against`). Beside the champion, and beside the
anchor, the best champion that ever was, it must not be worse (`reasons_worse`): neither by a paired test of what each
row costs, nor by more than the tolerance. The anchor is what small steps down add up against: a promotion moves it
only where the paired test says that the new champion is better than it (`is_better`), and while the champion is another
model than the anchor, the next one must look a little better than the anchor (`reason_below_anchor`).

Equal is enough for a challenger that is newer than the champion and no larger (`reason_to_stay`): "equal" is what the
test can tell, the same recipe trained again is equal, and data that has come since is a reason to change. Equal and
larger, or equal and older, stays out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from comparison import figure, losses, word
from predictions import HIGHER_IS_BETTER, METRICS
from step_error import StepError
from table import REGRESSION, Table

MINIMUM = "minimum_"  # and a metric: the parameters that go before the declaration's `minimum`
SIGNIFICANT = 1.75  # the t statistic of a one-sided test at 4 %: at 5 % a tenth of equals stays out
OVER_ANCHOR = 0.75  # the least t statistic beside the anchor where the champion is another model
SAME_SIZE = 1.2  # up to so many times the bytes is no more complicated: seeds and samples make some difference
OF_CLASSES = {"max_calibration_error": 0.15, "min_slice_accuracy": 0.6}  # where nothing is said


@dataclass(frozen=True)
class Gate:
    """What a model must reach; see MLproject for each. None: of no meaning for the task."""

    minimum: Mapping[str, float]  # metric -> the least it may be; of a loss or an error the most
    max_calibration_error: float | None
    min_slice_accuracy: float | None
    min_slice_size: int
    tolerance: float
    min_compared: int
    accept_change: bool = False


def make_gate(table: Table, given: Mapping[str, float | None]) -> Gate:
    """The gate of the parameters `given` (by name, None: not given), and of the declaration for what they leave open.

    Raises:
        StepError: something is asked for that the task does not have; all of it is named.
    """
    asked = {name.removeprefix(MINIMUM): value for name, value in given.items() if name.startswith(MINIMUM)}
    minimum = {**table.minimum, **{metric: value for metric, value in asked.items() if value is not None}}
    problems = []
    for metric, value in minimum.items():
        source = f"minimum: {metric} of the declaration" if asked.get(metric) is None else f"{MINIMUM}{metric}"
        if metric not in METRICS[table.task]:
            problems.append(f"{source} is not for the task {table.task}, which has {', '.join(METRICS[table.task])}")
        elif metric in HIGHER_IS_BETTER and value > 1:
            problems.append(f"{source} is {value:g}, and no model has more than 1")
    limits = {name: given[name] for name in OF_CLASSES}
    if table.task == REGRESSION:
        problems += [
            f"{name} is for classes, and not for the task {table.task}; leave it empty"
            for name, value in limits.items()
            if value is not None
        ]
    else:
        limits = {name: OF_CLASSES[name] if value is None else value for name, value in limits.items()}
    if problems:
        raise StepError("; ".join(problems))
    others = {name: given[name] for name in ("min_slice_size", "tolerance", "min_compared", "accept_change")}
    return Gate(minimum, **limits, **others)  # type: ignore[arg-type]  # these are never None


def reasons_against(
    gate: Gate,
    table: Table,
    truth: np.ndarray,
    predicted: pd.DataFrame,
    metrics: Mapping[str, float],
    slices: pd.DataFrame,
) -> list[str]:
    """Every reason why the model by itself may not be released, by its predictions and their metrics; none: it may."""
    reasons = []
    for metric, limit in gate.minimum.items():
        value = f"{word(metric)} {figure(metric, metrics[metric])}"
        if metric in HIGHER_IS_BETTER and metrics[metric] < limit:
            reasons.append(f"{value} is under the minimum {limit:g}")
        if metric not in HIGHER_IS_BETTER and metrics[metric] > limit:
            reasons.append(f"{value} is over the most that it may be, {limit:g}")
    if not gate.minimum and (useless := reason_useless(table, truth, predicted, metrics)):
        reasons.append(useless)
    if gate.max_calibration_error is not None and metrics["calibration_error"] > gate.max_calibration_error:
        reasons.append(
            f"calibration error {metrics['calibration_error']:.3f} is over "
            f"max_calibration_error {gate.max_calibration_error:g}"
        )
    if gate.min_slice_accuracy is not None:
        for row in slices.to_dict("records"):
            highest = wilson_upper(row["accuracy"], row["count"])
            if row["count"] >= gate.min_slice_size and highest < gate.min_slice_accuracy:
                reasons.append(
                    f"accuracy {row['accuracy']:.3f} on the {row['count']} {table.rows} of {row['by']} {row['slice']} "
                    f"(95 % interval up to {highest:.3f}) is under min_slice_accuracy {gate.min_slice_accuracy:g}"
                )
    return reasons


def reason_too_few(gate: Gate, table: Table, compared: int, other: str) -> str:
    """Why two models cannot be compared on so few rows; "" where they can."""
    if compared >= gate.min_compared:
        return ""
    return (
        f"only {compared} of the held-out {table.rows} are unseen by {other} too, under min_compared "
        f"{gate.min_compared}: too few to judge; train with its split_seed and test_size, or on more {table.rows}"
    )


def reasons_worse(
    gate: Gate, table: Table, difference: Mapping[str, float], other: str, rows: str = "same"
) -> list[str]:
    """Every reason why a model is worse than the `other` one, by the `difference` of `comparison.compare` to it.

    `rows` says which they are, for people.
    """
    reasons, where = [], f"the {rows} {difference['rows']} {table.rows}"
    if difference["loss_t"] < -SIGNIFICANT:
        loss = "absolute error" if table.task == REGRESSION else "log loss"
        value = figure("mae" if table.task == REGRESSION else "log_loss", difference["loss"])
        reasons.append(
            f"{loss} is {value} over {other}'s on {where}, more than chance explains (paired t = "
            f"{difference['loss_t']:.2f}, under -{SIGNIFICANT})"
        )
    test = ("wilcoxon_p", "Wilcoxon") if table.task == REGRESSION else ("mcnemar_p", "McNemar")
    for name in METRICS[table.task]:
        if name in HIGHER_IS_BETTER and difference.get(name, 0) < -gate.tolerance:
            reasons.append(
                f"{word(name)} is {-difference[name]:.3f} under {other}'s on {where} "
                f"(95 % interval of the difference {difference[f'{name}_low']:+.3f} to "
                f"{difference[f'{name}_high']:+.3f}; {test[1]} p = {difference[test[0]]:.2g}), "
                f"more than tolerance {gate.tolerance:g}"
            )
    return reasons


def is_better(difference: Mapping[str, float]) -> bool:
    """Whether the paired test says that the challenger is better."""
    return difference["loss_t"] > SIGNIFICANT


def reason_below_anchor(difference: Mapping[str, float]) -> str:
    """Why a challenger stays out that is not worse than the anchor, where the champion is another model; "" if it may.

    One step that is not better is let go; of the next ones each must look better than the anchor, by three quarters
    of a standard error. A hundred challengers have a hundred chances to be lucky: with the bound of a single test they
    slide on, and with "as good" (0) too, where each is judged on other rows (benchmarks/gate_trials.py).
    """
    if difference["loss_t"] >= OVER_ANCHOR:
        return ""
    return (
        f"it does not look better than the best champion so far (paired t = {difference['loss_t']:.2f}, under "
        f"{OVER_ANCHOR}), and today's champion was no improvement on that one either"
    )


def reason_to_stay(difference: Mapping[str, float], newer: bool, size: float, before: float) -> str:
    """Why a challenger that is not worse than the champion does not replace it; "" where it may.

    `newer`: whether it was registered after the champion. `size` and `before`: bytes of the two models' files, the
    champion's as it would be with as many rows: trees grow with what they are trained on.
    """
    if is_better(difference):
        return ""
    equal = f"it is not better than the champion (paired t = {difference['loss_t']:.2f}, not over {SIGNIFICANT})"
    if not newer:
        return f"{equal}, which came after it"
    if size > SAME_SIZE * before:
        return f"{equal}, and not simpler: {size:,.0f} bytes, and {before:,.0f} would be as many"
    return ""


def reason_useless(table: Table, truth: np.ndarray, predicted: pd.DataFrame, metrics: Mapping[str, float]) -> str:
    """Why a model is no better than one that says the same of all rows; "" where it is.

    Of classes by log loss, since a model that tells well who of a rare class is likely may never say that class: its
    accuracy is then that of one that knows nothing.
    """
    if table.task == REGRESSION:
        return (
            "" if metrics["r2"] > 0 else f"R² {metrics['r2']:.3f} is no more than the 0.000 of always saying the mean"
        )
    shares = np.unique(truth, return_counts=True)[1] / len(truth)
    loss, constant = float(losses(table, truth, predicted).mean()), float(-(shares * np.log(shares)).sum())
    if loss < constant - 1e-9:  # sums in another order
        return ""
    return (
        f"log loss {loss:.3f} is no less than the {constant:.3f} of always saying how frequent each "
        f"{table.target.name} is"
    )


def wilson_upper(share: float, count: int, z: float = 1.96) -> float:
    """Upper end of the 95 % interval of a share of `count` (Wilson 1927).

    With some twenty slices one always looks bad by chance, so a slice fails only if its whole interval is too low.
    """
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (share + z * z / (2 * count) + half) / (1 + z * z / count)
