"""How good a training is by cross-validation, plain and by group, beside what must be beaten. No MLflow here."""

from dataclasses import dataclass, field

import pandas as pd
from baselines import Baseline, best_single_column, constant, single_column
from companions import Companions
from cross_validation import (
    FitFunction,
    cross_validate,
    interval,
    make_folds,
    make_group_folds,
    out_of_fold,
    scores,
    summary,
)
from group_correction import corrected
from predictions import METRICS
from table import Table
from table_features import groups

GROUP_FOLDS = 5  # at most: it costs as much again as the other


@dataclass(frozen=True)
class Judgement:
    """Metrics by name, and the words that go with them."""

    metrics: dict[str, float] = field(default_factory=dict)
    groups: str = ""  # what holds rows together; "" where there is no cross-validation by group
    baselines: tuple[Baseline, ...] = ()  # the last one must be beaten
    gain: tuple[float, float, float] = (0.0, 0.0, 0.0)  # the first metric over that one's: mean, 95 % interval
    companions: Companions | None = None  # what predictions are to be corrected by; None with a weight of 0, too

    def headline(self, table: Table) -> str:
        """What to expect of the first metric on rows not met, in one line; "" where nothing was cross-validated."""
        if not self.metrics:
            return ""
        name = METRICS[table.task][0]
        parts = [f"cross-validated {name} {self.figure(f'cv_{name}')}"]
        if self.groups:
            parts.append(f"each {self.groups} kept whole {self.figure(f'group_cv_{name}')}")
        parts.append(f"{self.baselines[-1].name} {self.metrics[f'baseline_{name}']:.3f}")
        return ", ".join(parts)

    def figure(self, name: str) -> str:
        mean, low, high = (self.metrics[f"{name}_{what}"] for what in ("mean", "low", "high"))
        return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def judge(
    fit: FitFunction,
    table: Table,
    columns: list[str],
    rows: pd.DataFrame,
    folds: int,
    repeats: int,
    seed: int,
    correct: bool = False,
) -> Judgement:
    """Cross-validate `fit`, which reads `columns`, and the baselines on the same folds; nothing with no repeats.

    Metrics: cv_METRIC_mean, _std, _low and _high (95 % interval); the same of group_cv_METRIC; baseline_METRIC of the
    best single column, or of one answer for all where no column is better, and group_baseline_METRIC.
    With `correct` cv_METRIC is of predictions corrected by companions, whose weight is group_correction_weight, and
    uncorrected_METRIC the mean without; with each group kept whole nobody has companions.
    """
    if not repeats:
        return Judgement()
    plain = make_folds(table, rows, folds, repeats, seed)
    said, companions = out_of_fold(fit, table, columns, rows, plain), None
    judged, uncorrected = scores(table, rows, plain, said), {}
    if correct:
        uncorrected = {f"uncorrected_{name}": float(value) for name, value in judged.mean().round(12).items()}
        repeat = [slice(start, start + folds) for start in range(0, len(plain), folds)]
        better = [corrected(table, rows, plain[one], said[one]) for one in repeat]
        known = better[0][1]
        uncorrected["group_correction_weight"] = known.weight
        companions = known if known.weight else None
        judged = scores(table, rows, plain, [fold for one, _ in better for fold in one])
    found = summary(judged, folds) | uncorrected
    same, column = constant(table, rows, plain), best_single_column(table, columns, rows, plain, seed)
    first = METRICS[table.task][0]
    told = column.scores[first].mean() > same.scores[first].mean()
    baselines = (same, column) if told else (column, same)
    found |= {f"baseline_{name}": float(value) for name, value in baselines[-1].scores.mean().round(12).items()}
    difference = judged[first] - baselines[-1].scores[first]
    gain = (float(difference.mean()), *interval(difference, folds))
    together = groups(table, rows)
    few = min(folds, GROUP_FOLDS)
    apart = together and make_group_folds(table, rows, together[1], few, repeats, seed)
    if not (together and apart):
        return Judgement(found, "", baselines, gain, companions)
    found |= summary(cross_validate(fit, table, columns, rows, apart), few, "group_cv_")
    beaten = baselines[-1].column
    again = single_column(table, beaten, rows, apart) if beaten else constant(table, rows, apart)
    found |= {f"group_baseline_{name}": float(value) for name, value in again.scores.mean().round(12).items()}
    return Judgement(found, together[0], baselines, gain, companions)
