"""training: a clean table in, a registered model and the rows it has not seen (holdout.csv) out."""

import argparse
import platform
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import skops_flavor
import step
from companions import Companions
from declaration import read_declaration
from estimators import AUTO, MODELS, Recipe, hyperparameters
from group_correction import refuse_without_groups
from importance import background, measure
from judgement import Judgement, judge
from model_card import write_card
from model_choice import chosen
from pandas import DataFrame
from predictions import METRICS, predict, score
from recording import Record, record_step
from threadpoolctl import threadpool_limits
from training_data import Split, read_rows, split

STEP = "training"
PACKAGES = ["numpy", "pandas", "scikit-learn", "scipy", "skops"]  # what a saved model needs to answer, beside MLflow


def depth(text: str) -> str | int:
    try:
        return "none" if text.strip().lower() == "none" else step.whole(1, 100)(text)
    except ValueError as error:
        raise ValueError(f"{error}, or none") from None


HYPERPARAMETERS = {
    "n_estimators": step.whole(1, 10_000),
    "max_depth": depth,
    "min_samples_leaf": step.whole(1, 10_000),
    "learning_rate": step.number(1e-6, 1),
    "subsample": step.number(1e-6, 1),
    "C": step.number(1e-6, 1e6),
    "alpha": step.number(1e-6, 1e6),
}


def main() -> int:
    return record_step(STEP, train)


def train(record: Record, folder: Path) -> None:
    """Read, split, cross-validate, fit, evaluate on the holdout, save."""
    asked = parse_parameters()
    table = read_declaration(asked.dataset)
    recipe = Recipe(table, asked.model, hyperparameters(table.task, asked.model, asked.given), asked.seed)
    columns = recipe.columns
    rows, given = read_rows(table, asked.input, asked.max_rows)
    sampled = {"rows_given": given} if len(rows) < given else {}
    if sampled:
        print(f"{STEP}: a sample of {len(rows)} of {given} {table.rows} (max_rows={asked.max_rows})")
    parts = split(table, rows, asked.test_size, asked.split_seed, asked.cv_folds if asked.cv_repeats else 2)
    if asked.group_correction:
        refuse_without_groups(table, rows, asked.cv_repeats)
    with threadpool_limits(1):  # sums in another order, on another number of cores, are other sums
        judged = cross_validated(recipe, parts.train, asked)
        recipe = tune(recipe, parts.train, asked, folder)
        if asked.search_trials:
            record.tags = {f"search.{name}": str(value) for name, value in recipe.values.items()}
        model = recipe.fit(parts.train)
        said = predict(model, table, parts.holdout[columns])
        importance = measure(model, table, columns, parts.holdout, said, asked.seed)
        if judged.companions:
            said = judged.companions.correct(table, said, parts.holdout)
        results = score(table, parts.holdout[table.target.name], said)
        if asked.plots:
            from training_plots import draw  # matplotlib takes a while to import

            draw(table, parts.holdout, said, importance, folder / "plots")
    importance.to_csv(folder / "importance.csv", index=False, lineterminator="\n")
    table.write(parts.train, folder / "train.csv")
    table.write(parts.holdout, folder / "holdout.csv")
    digest = record.read("input", asked.input, "training")
    card = write_card(recipe, asked, parts, digest, said, results, judged, importance)
    (folder / "model_card.md").write_text(card, encoding="utf-8")
    record.take(folder)
    record.datasets += [{"path": f"{name}.csv", "context": name} for name in ("train", "holdout")]
    record.model = save_model(record.outputs / "model", model, recipe, parts, asked, digest, judged.companions)
    rows_of = sampled | {"rows_train": len(parts.train), "rows_holdout": len(parts.holdout)}
    record.metrics = rows_of | results | judged.metrics
    how = f"{recipe.model}, corrected by companions," if judged.companions else recipe.model
    print(
        f"{STEP}: {how} on {len(parts.train)} {table.rows}; "
        + (f"{headline}; " if (headline := judged.headline(table)) else "")
        + f"on the {len(parts.holdout)} held out "
        + ", ".join(f"{name} {results[name]:.3f}" for name in METRICS[table.task][:2])
    )


def parse_parameters() -> argparse.Namespace:
    """The parameters; `given`: the hyperparameters that are not empty, which a search leaves alone."""
    asked = step.parse_parameters(
        STEP,
        input=Path,
        dataset=Path,
        model=step.choice(*MODELS),
        **{name: step.optional(kind) for name, kind in HYPERPARAMETERS.items()},
        test_size=step.number(0.01, 0.9),
        split_seed=step.whole(0, 2**31 - 1),
        seed=step.whole(0, 2**31 - 1),
        cv_folds=step.whole(2, 100),
        cv_repeats=step.whole(0, 100),
        search_trials=step.whole(0, 10_000),
        group_correction=step.boolean,
        plots=step.boolean,
        max_rows=step.whole(0, 1_000_000_000),
    )
    given = {name: getattr(asked, name) for name in HYPERPARAMETERS}
    asked.given = {name: None if value == "none" else value for name, value in given.items() if value is not None}
    return asked


def cross_validated(recipe: Recipe, train: DataFrame, asked: argparse.Namespace) -> Judgement:
    """Of the whole training, its search included; nothing with cv_repeats=0."""

    def search_and_fit(rows: DataFrame) -> Any:
        return tune(recipe, rows, asked).fit(rows)

    table, columns = recipe.table, recipe.columns
    given = asked.cv_folds, asked.cv_repeats, asked.split_seed, asked.group_correction
    return judge(search_and_fit, table, columns, train, *given)


def tune(recipe: Recipe, rows: DataFrame, asked: argparse.Namespace, folder: Path | None = None) -> Recipe:
    """The recipe with its model chosen and the best hyperparameters found, as far as that is asked for.

    What was tried goes into models_tried.csv and search_trials.csv in `folder`.
    """
    if recipe.model == AUTO:
        recipe, tried = chosen(recipe, rows)
        if folder:
            tried.to_csv(folder / "models_tried.csv", index=False, lineterminator="\n")
    if not asked.search_trials:
        return recipe
    from hyperparameter_search import search

    values, trials = search(recipe, asked.given, rows, asked.search_trials, quiet=folder is None)
    if folder:
        trials.to_csv(folder / "search_trials.csv", index=False)
    return replace(recipe, values=values)


def save_model(
    folder: Path,
    model: object,
    recipe: Recipe,
    parts: Split,
    asked: argparse.Namespace,
    digest: str,
    companions: Companions | None,
) -> dict[str, Any]:
    """Save the model; what model.json says of it: to be registered under the table's name."""
    more = [recipe.table.key.name, companions.group] if companions else []  # which the server asks for, too
    skops_flavor.save_model(
        folder,
        model,
        recipe.table,
        recipe.columns,
        background=background(model, recipe.table, recipe.columns, parts.train),
        companions=companions,
        example=parts.train[[*dict.fromkeys([*recipe.columns, *more])]].head(3),
        # mlflow-skinny is the part of MLflow that this step's environment has.
        pip_requirements=[f"mlflow=={version('mlflow-skinny')}", *(f"{name}=={version(name)}" for name in PACKAGES)],
        python_version=platform.python_version(),
    )
    tags = {
        "data.sha256": digest,
        "split_seed": asked.split_seed,
        "test_size": asked.test_size,
        "model": recipe.model,
        "rows_train": len(parts.train),
    }
    return {
        "path": folder.name,
        "name": recipe.table.name,
        "tags": {name: str(value) for name, value in tags.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
