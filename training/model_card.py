"""The model card: what the model is, how good, for whom, and what it is not for. No MLflow here."""

import argparse
import math

import numpy as np
import pandas as pd
from estimators import AUTO, Recipe
from judgement import GROUP_FOLDS, Judgement
from predictions import METRICS, probability_columns
from table import BINARY, REGRESSION, Table
from training_data import Split, class_counts

CARD = """# Model card: {table.name}, {recipe.model}

## What it is
A stock scikit-learn model ({recipe.model}) that predicts {target} of a {row}. {about}

It reads {columns}, as they are in the clean table; imputation, encoding and scaling are part of it.
Hyperparameters: {values}; seed {recipe.seed}.{companions}

## Data
Trained on {trained}, judged on {judged} that it has never seen{sample}: those whose hash of {key} and split_seed
{asked.split_seed} falls below test_size {asked.test_size:g}. SHA-256 of the table: `{digest}`.
{missing}

## How good it is
{cross_validation}

On the holdout, one split among many and not stratified, with 95 % interval of {interval}:

{metrics}

## What it goes by
What {importance_metric} loses on the holdout when a column is shuffled (mean and spread of five times):

{importance}

## What it says of five {rows}
Of the holdout, from the lowest {answer} to the highest, a quarter of the {rows} between each and the next:

{typical}

## Slices of the holdout
A slice of under 30 {rows} says little.

{slices}

## Intended use
{intended_use}

## Limits
{limits}
"""
GENERAL_LIMITS = (
    "It has learned from these {count} {rows} alone: of others it says only as much as they are like them.",
    "What goes with a prediction is no cause of it, and an injustice in the data is repeated.",
    "Differences of metrics well within the intervals above are noise.",
)


def write_card(
    recipe: Recipe,
    asked: argparse.Namespace,
    parts: Split,
    digest: str,
    said: pd.DataFrame,
    metrics: dict[str, float],
    judged: Judgement,
    importance: pd.DataFrame,
) -> str:
    """The card as Markdown; the same model and data give the same text. `said`: `predict`'s answer for the holdout."""
    table, rows = recipe.table, escape(recipe.table.rows)
    limits = (*table.limits, *(text.format(count=len(parts.train), rows=rows) for text in GENERAL_LIMITS))
    values = (f"no {name}" if value is None else f"{name} {value:g}" for name, value in recipe.values.items())
    return CARD.format(
        table=table,
        recipe=recipe,
        asked=asked,
        target=escape(table.target.name),
        row=escape(table.row),
        rows=rows,
        about=one_line(f"{table.title}: {table.description}".strip(": ")),
        columns=", ".join(map(escape, recipe.columns)),
        values=", ".join(values),
        companions=companions_text(table, judged),
        trained=described(table, parts.train),
        judged=described(table, parts.holdout),
        sample=f", of a sample of the table (max_rows {asked.max_rows})" if asked.max_rows else "",
        key=hashed(table, parts),
        digest=digest,
        interval=interval(table, parts.holdout, said),
        metrics=markdown(["metric", "value"], [[name, f"{value:.4f}"] for name, value in metrics.items()]),
        cross_validation=cross_validation_text(recipe, asked, list(metrics), judged),
        importance_metric=importance["metric"].iloc[0],
        importance=importance_table(importance),
        missing=missing_text(recipe, parts.train),
        answer=escape(answer_column(table)),
        typical=typical_table(recipe, parts.holdout, said),
        slices=slice_table(table, parts.holdout, said),
        intended_use=one_line(table.intended_use) or "The declaration does not say (`intended_use`).",
        limits="\n".join(f"- {one_line(text)}" for text in limits),
    )


def missing_text(recipe: Recipe, train: pd.DataFrame) -> str:
    """Which of the columns that the model reads have empty cells, and how many."""
    shares = {name: share for name, share in train[recipe.columns].isna().mean().items() if share > 0}
    if not shares:
        return "No cell that it reads is empty."
    told = ", ".join(f"{escape(str(name))} ({share:.1%})" for name, share in shares.items())
    return f"Empty in the training part: {told}; what stands for an empty cell is learned there."


def answer_column(table: Table) -> str:
    """The column of predictions that rows are set in order by."""
    columns = list(probability_columns(table))
    return columns[-1] if columns else table.target.name


def typical_table(recipe: Recipe, holdout: pd.DataFrame, said: pd.DataFrame) -> str:
    """Five rows of the holdout, evenly spread by what the model says of them: what it reads, says, and what was so."""
    table, answer = recipe.table, answer_column(recipe.table)
    ordered = said[answer].sort_values(kind="stable").index
    chosen = ordered[np.linspace(0, len(ordered) - 1, min(5, len(ordered))).round().astype(int)]
    names = [*recipe.columns, table.target.name]
    rows = [[*(cell(holdout.at[row, name]) for name in names), f"{said.at[row, answer]:.3g}"] for row in chosen]
    return markdown([*map(escape, names), f"{escape(answer)} as predicted"], rows)


def cell(value: object) -> str:
    """A value of a table, short; empty where there is none."""
    text = "" if pd.isna(value) else f"{value:g}" if isinstance(value, float) else str(value)  # type: ignore[call-overload]
    return escape(text if len(text) <= 40 else text[:39] + "…")


def described(table: Table, part: pd.DataFrame) -> str:
    """How many rows, and the shares of the classes or mean and spread of the target."""
    if table.task == REGRESSION:
        values = part[table.target.name]
        words = f"mean {values.mean():.4g}, standard deviation {values.std():.4g} {escape(table.target.unit)}".strip()
    else:
        counts = class_counts(table, part).items()
        words = ", ".join(f"{count / len(part):.1%} {escape(word)}" for word, count in counts)
    return f"{len(part)} {escape(table.rows)} ({escape(table.target.name)}: {words})"


def interval(table: Table, holdout: pd.DataFrame, said: pd.DataFrame) -> str:
    """Of the accuracy, or of the mean absolute error."""
    truth, predicted = holdout[table.target.name], said[table.target.name]
    if table.task == REGRESSION:
        errors = (truth - predicted).abs()
        half = 1.96 * errors.std() / math.sqrt(len(errors))
        return f"the mean absolute error (normal) from {max(errors.mean() - half, 0):.4g} to {errors.mean() + half:.4g}"
    low, high = wilson((truth == predicted).mean(), len(truth))
    return f"the accuracy (Wilson) from {low:.3f} to {high:.3f}"


def companions_text(table: Table, judged: Judgement) -> str:
    """What the correction by companions is, and what it is worth; "" where there is none."""
    if not judged.companions:
        return ""
    group, rows, found = escape(table.group), escape(table.rows), judged.metrics
    worth = ", ".join(
        f"{escape(name)} {found[f'uncorrected_{name}']:.4f} without it, {found[f'cv_{name}_mean']:.4f} with it"
        for name in METRICS[table.task]
    )
    return (
        f"\n\n**Corrected by companions**: the log-odds move by {judged.companions.weight:g} times the sum of the "
        f"residuals (outcome less out-of-fold probability) of the {rows} trained on with the same {group}, its own "
        f"left out, over their number and one. It says something about each {group}, not about a {escape(table.row)}; "
        f"who has no companions there keeps what the model says. Cross-validated: {worth}. It is a file of its own "
        f"(companions.json), which MLflow's own loaders do not look at. The holdout keeps each {group} whole, so that "
        "it hardly shows there."
    )


def cross_validation_text(recipe: Recipe, asked: argparse.Namespace, metrics: list[str], judged: Judgement) -> str:
    """The headline: what to expect of rows not met, with its interval, beside what must be beaten."""
    if not judged.metrics:
        return "It was not cross-validated (cv_repeats 0)."
    table, cv = recipe.table, judged.metrics
    chosen = ["the model chosen"] * (asked.model == AUTO) + ["the hyperparameters searched"] * bool(asked.search_trials)
    nested = f", {' and '.join(chosen)} anew within each fold (nested)" if chosen else ""
    stratified = "" if table.task == REGRESSION else "stratified "
    ways = {"": "cv_"} | ({f", each {escape(judged.groups)} kept whole": "group_cv_"} if judged.groups else {})
    header = ["metric"]
    for way in ways:
        header += [f"mean{way}", "95 % interval", "spread"]
    header += [escape(one.name) for one in judged.baselines]
    rows = []
    for name in metrics:
        cells = [name]
        for prefix in ways.values():
            mean, low, high, std = (cv[f"{prefix}{name}_{what}"] for what in ("mean", "low", "high", "std"))
            cells += [f"{mean:.4f}", f"{low:.4f} to {high:.4f}", f"{std:.4f}"]
        rows.append([*cells, *(f"{one.scores[name].mean():.4f}" for one in judged.baselines)])
    mean, low, high = judged.gain
    bar = escape(judged.baselines[-1].name)
    beaten = f"It is better than {bar}" if mean > 0 else f"**It is no better than {bar}**"
    apart = f" (by {escape(judged.groups)}: {min(asked.cv_folds, GROUP_FOLDS)}-fold)" if judged.groups else ""
    return (
        f"In the training part, {asked.cv_folds}-fold {stratified}cross-validation{apart}, repeated {asked.cv_repeats} "
        f"time(s){nested}. The interval is of the mean, wide enough for folds that share rows (Nadeau and Bengio); the "
        f"spread is the standard deviation over the folds. Beside it what must be beaten, on the same folds.\n\n"
        + markdown(header, rows)
        + f"\n\n{beaten}: {metrics[0]} {mean:+.4f} ({low:+.4f} to {high:+.4f})."
    )


def hashed(table: Table, parts: Split) -> str:
    """What the split goes by."""
    key = escape(table.key.name)
    return f"{escape(table.group)} (of {key} where that is empty)" if table.group in parts.train.columns else key


def importance_table(importance: pd.DataFrame) -> str:
    found = importance[["column", "mean", "std"]].itertuples(index=False, name=None)
    rows = [[escape(column), f"{mean:.4f}", f"{std:.4f}"] for column, mean, std in found]
    return markdown(["column", "mean", "spread"], rows)


def slice_table(table: Table, holdout: pd.DataFrame, said: pd.DataFrame) -> str:
    """How good it is in each group of the fields that the declaration slices by, as a Markdown table."""
    if not table.slices:
        return "The declaration names none (`slice`)."
    truth, predicted = holdout[table.target.name].to_numpy(), said[table.target.name].to_numpy()
    header = ["slice", escape(table.rows), "mean", "mean predicted", "mean absolute error"]
    errors = truth == predicted
    if table.task == REGRESSION:
        errors = np.abs(truth - predicted)
    else:  # of several classes, no mean is told
        label = escape(table.class_label(table.positive)) if table.task == BINARY else ""
        header[2:] = [*([label, f"predicted {label}"] if label else []), "accuracy"]
        truth, predicted = truth == table.positive, predicted == table.positive
    rows = []
    for field in table.slices:
        groups = field.groups(holdout[field.name]).to_numpy()
        for name in sorted(set(groups)):
            own = groups == name
            shares = [f"{truth[own].mean():.4g}", f"{predicted[own].mean():.4g}"] if len(header) == 5 else []
            where = f"{escape(field.name)}: {escape(str(name))}"
            rows.append([where, str(own.sum()), *shares, f"{errors[own].mean():.4g}"])
    return markdown(header, rows)


def wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share of `count` (Wilson 1927)."""
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def one_line(text: str) -> str:
    return " ".join(text.split())


def escape(text: str) -> str:
    """Text from the data or of names, harmless in Markdown and HTML."""
    return "".join(c if c.isalnum() or c in " .-()" else f"&#{ord(c)};" for c in text[:60])
