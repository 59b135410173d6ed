"""How good each model is on passengers it has not met: over many splits, and by repeated cross-validation.

    python benchmarks/model_trials.py [--splits 8] [--repeats 1] [--all] [--record]

For each list and each model: accuracy on the holdouts of split seeds 0, 1, 2 … (mean, standard deviation, least and
largest), the 10-fold cross-validation of the whole list and the 5-fold one with each party kept whole, with 95 %
intervals of the mean, and the CPU time of scoring one passenger. `+` marks the simplest model whose cross-validated log
loss is within one standard error of the best, by party. Below it, what correcting by companions adds.
`--all`: 40 splits, 10 repeats; `--record` writes the tables into RESULTS.md.
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "training")]

from baselines import single_column  # noqa: E402 - found by the line above
from cross_validation import (  # noqa: E402
    Folds,
    cross_validate,
    interval,
    make_folds,
    make_group_folds,
    out_of_fold,
    scores,
    standard_error,
    summary,
)
from declaration import read_declaration  # noqa: E402
from estimators import DEFAULTS, Recipe  # noqa: E402
from group_correction import corrected  # noqa: E402
from model_choice import simplest  # noqa: E402
from predictions import predict, score  # noqa: E402
from results import REAL_LIST, SAMPLE, machine, write_section  # noqa: E402
from table import Table  # noqa: E402
from table_features import groups  # noqa: E402
from threadpoolctl import threadpool_limits  # noqa: E402
from training_data import read_rows, split  # noqa: E402

LISTS = {"the real list": REAL_LIST, "the sample that ships": SAMPLE}
FOLDS, GROUP_FOLDS = 10, 5
SCORED = 100  # times that one passenger is


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--all", action="store_true", help="40 splits, 10 repeats")
    parser.add_argument("--record", action="store_true", help="into RESULTS.md")
    asked = parser.parse_args()
    splits, repeats = (40, 10) if asked.all else (asked.splits, asked.repeats)
    table = read_declaration(ROOT / "dataset.yaml")
    parts = ["## The model", machine()]
    for name, path in LISTS.items():
        if not path.is_file():
            print(f"{name[0].upper()}{name[1:]} is not at {path}: skipped.\n")
            continue
        with threadpool_limits(1):
            found = trials(table, read_rows(table, path), splits, repeats)
        parts.append(f"On {name}, {splits} splits, {repeats} repeats:\n\n{found}")
        print(parts[-1], flush=True)
    if asked.record:
        write_section("model trials", "\n\n".join(parts))
    return 0


def trials(table: Table, rows: pd.DataFrame, splits: int, repeats: int) -> str:
    """The Markdown table of one list, and what companions are worth to the default model."""
    plain = make_folds(table, rows, FOLDS, repeats, 0)
    together = groups(table, rows)
    apart = make_group_folds(table, rows, together[1], GROUP_FOLDS, repeats, 0) if together else None
    if apart is None:
        raise SystemExit("the list has no parties to keep whole")
    lines = [
        "| model | holdouts | least to largest | cross-validated | log loss | by party | log loss | CPU ms a row |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    tried, corrections = [], ""
    for model, values in DEFAULTS[table.task].items():
        recipe = Recipe(table, model, values, 0)
        held = pd.Series([on_holdout(recipe, rows, seed) for seed in range(splits)])
        said = out_of_fold(recipe.fit, table, recipe.columns, rows, plain)
        cv = summary(scores(table, rows, plain, said), FOLDS)
        losses = cross_validate(recipe.fit, table, recipe.columns, rows, apart)
        party = summary(losses, GROUP_FOLDS)
        error = standard_error(losses["log_loss"], GROUP_FOLDS)
        tried.append({"model": model, "mean": party["cv_log_loss_mean"], "error": error})
        lines.append(
            f"| {model} | {held.mean():.3f} ± {held.std():.3f} | {held.min():.3f} to {held.max():.3f} "
            f"| {figure(cv)} | {cv['cv_log_loss_mean']:.3f} | {figure(party)} | {party['cv_log_loss_mean']:.3f} "
            f"| {milliseconds(recipe, rows):.1f} |"
        )
        if model in ("logistic_regression", "soft_vote"):
            corrections += f"- {model}: {correction(table, rows, plain, said)}\n"
    found = pd.DataFrame(tried)
    place = 2 + found["model"].tolist().index(simplest(found))
    lines[place] = lines[place].replace(f"| {simplest(found)} |", f"| {simplest(found)} + |", 1)
    kinds = ((plain, FOLDS), (apart, GROUP_FOLDS))
    sex = [summary(single_column(table, "Sex", rows, folds).scores, count) for folds, count in kinds]
    cells = (f"{figure(one)} | {one['cv_log_loss_mean']:.3f}" for one in sex)
    lines.append(f"| Sex alone | | | {' | '.join(cells)} | |")
    worth = "What `group_correction` adds in the plain folds (mean, 95 % interval); by party nobody has companions:"
    return "\n".join([*lines, "", worth, "", corrections])


def correction(table: Table, rows: pd.DataFrame, folds: Folds, said: list[pd.DataFrame]) -> str:
    """The gain of each metric, fold by fold, where companions correct what was said."""
    better: list[pd.DataFrame] = []
    for start in range(0, len(folds), FOLDS):
        repeat = slice(start, start + FOLDS)
        better += corrected(table, rows, folds[repeat], said[repeat])[0]
    gain = scores(table, rows, folds, better) - scores(table, rows, folds, said)
    texts = []
    for name in gain:
        low, high = interval(gain[name], FOLDS)
        texts.append(f"{name} {gain[name].mean():+.4f} ({low:+.4f} to {high:+.4f})")
    more, less = (int((sign * gain["accuracy"] > 1e-9).sum()) for sign in (1, -1))
    return f"{', '.join(texts)}; accuracy better in {more} of {len(gain)} folds, worse in {less}"


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
