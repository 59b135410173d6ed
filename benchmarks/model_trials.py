"""How good each model is on passengers it has not met: over many splits, and by repeated cross-validation.

    python benchmarks/model_trials.py [--splits 8] [--repeats 1] [--all]      (--all: 40 splits, 10 repeats)

For each list and each model: accuracy on the holdouts of split seeds 0, 1, 2 … (mean, standard deviation, least and
largest), the 10-fold cross-validation of the whole list and the 5-fold one with each party kept whole, with 95 %
intervals of the mean, and the CPU time of scoring one passenger. `+` marks the simplest model whose cross-validated log
loss is within one standard error of the best, by party.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "training")]

from baselines import single_column  # noqa: E402 - found by the line above
from cross_validation import cross_validate, make_folds, make_group_folds, summary  # noqa: E402
from declaration import Table, read_declaration  # noqa: E402
from estimators import DEFAULTS, Recipe  # noqa: E402
from predictions import predict, score  # noqa: E402
from table_features import groups  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402
from training_data import read_rows, split  # noqa: E402

LISTS = {
    "the real list": ROOT.parent / "shared" / "data" / "titanic.csv",
    "the sample that ships": ROOT / "data" / "titanic_sample.csv",
}
MODELS = ("logistic_regression", "random_forest", "gradient_boosting", "soft_vote")  # the simplest first
FOLDS, GROUP_FOLDS = 10, 5
SCORED = 100  # times that one passenger is


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="40 splits, 10 repeats")
    asked = parser.parse_args()
    splits, repeats = (40, 10) if asked.all else (asked.splits, asked.repeats)
    table = read_declaration(ROOT / "dataset.yaml")
    for name, path in LISTS.items():
        if not path.is_file():
            print(f"{name[0].upper()}{name[1:]} is not at {path}: skipped.\n")
            continue
        print(f"On {name}, {splits} splits, {repeats} repeats:\n")
        with threadpool_limits(1):
            print(trials(table, read_rows(table, path), splits, repeats), flush=True)
    return 0


def trials(table: Table, rows: pd.DataFrame, splits: int, repeats: int) -> str:
    """The Markdown table of one list."""
    plain = make_folds(table, rows, FOLDS, repeats, 0)
    together = groups(table, rows)
    apart = make_group_folds(table, rows, together[1], GROUP_FOLDS, repeats, 0) if together else None
    if apart is None:
        raise SystemExit("the list has no parties to keep whole")
    lines = [
        "| model | holdouts | least to largest | cross-validated | by party | its log loss | CPU ms a row |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    losses: dict[str, tuple[float, float]] = {}
    for model in MODELS:
        recipe = Recipe(table, model, DEFAULTS[table.task][model], 0)
        columns = recipe.columns
        held = pd.Series([on_holdout(recipe, rows, seed) for seed in range(splits)])
        cv = summary(cross_validate(recipe.fit, table, columns, rows, plain), FOLDS)
        party = summary(cross_validate(recipe.fit, table, columns, rows, apart), GROUP_FOLDS)
        losses[model] = party["cv_log_loss_mean"], party["cv_log_loss_std"] / math.sqrt(len(apart))
        lines.append(
            f"| {model} | {held.mean():.3f} ± {held.std():.3f} | {held.min():.3f} to {held.max():.3f} "
            f"| {figure(cv)} | {figure(party)} | {losses[model][0]:.3f} | {milliseconds(recipe, rows):.1f} |"
        )
    best, error = min(losses.values())
    simplest = next(model for model in MODELS if losses[model][0] <= best + error)
    place = 2 + MODELS.index(simplest)
    lines[place] = lines[place].replace(f"| {simplest} |", f"| {simplest} + |", 1)
    kinds = ((plain, FOLDS), (apart, GROUP_FOLDS))
    sex = [summary(single_column(table, "Sex", rows, folds).scores, count) for folds, count in kinds]
    lines.append(f"| Sex alone | | | {figure(sex[0])} | {figure(sex[1])} | {sex[1]['cv_log_loss_mean']:.3f} | |")
    return "\n".join(lines) + "\n"


def on_holdout(recipe: Recipe, rows: pd.DataFrame, seed: int) -> float:
    """The accuracy on the holdout of a split seed."""
    parts = split(recipe.table, rows, 0.2, seed, FOLDS)
    said = predict(recipe.fit(parts.train), recipe.table, parts.holdout[recipe.columns])
    return score(recipe.table, parts.holdout[recipe.table.target.name], said)["accuracy"]


def figure(found: dict[str, float]) -> str:
    mean, low, high = (found[f"cv_accuracy_{what}"] for what in ("mean", "low", "high"))
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def milliseconds(recipe: Recipe, rows: pd.DataFrame) -> float:
    """CPU time of one row alone."""
    model, one = recipe.fit(rows), rows[recipe.columns].head(1)
    predict(model, recipe.table, one)
    start = time.process_time()
    for _ in range(SCORED):
        predict(model, recipe.table, one)
    return 1000 * (time.process_time() - start) / SCORED


if __name__ == "__main__":
    sys.exit(main())
