"""training: clean_data.csv in, a registered model and the passengers it has not seen (holdout.csv) out."""

import argparse
import hashlib
import platform
import shlex
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
import skops_flavor
from cross_validation import cross_validate, summary
from estimators import RANGES, build
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema
from model_card import write_card
from sklearn.base import ClassifierMixin
from threadpoolctl import threadpool_limits
from training_data import DECIMALS, FEATURES, INTEGERS, TARGET, Split, TrainingError, read_passengers, split
from training_metrics import score
from training_settings import Settings, parse_settings

STEP = "training"
PACKAGES = ["numpy", "pandas", "scikit-learn", "scipy", "skops"]  # what a saved model needs to answer, beside MLflow
# Whole numbers too: an empty cell makes a column of them float64, and MLflow would refuse it as `long`.
TYPES = dict.fromkeys([*INTEGERS, *DECIMALS], "double")


def main() -> int:
    arguments = parse_arguments()
    try:
        with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
            settings = parse_settings({name: str(value) for name, value in vars(arguments).items()})
            with threadpool_limits(1):  # sums in another order, on another number of cores, are other sums
                train(run, arguments.input, settings, Path(folder))
    except TrainingError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--model", required=True)
    for name in RANGES:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--test_size", required=True)
    parser.add_argument("--split_seed", required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--cv_folds", required=True)
    parser.add_argument("--cv_repeats", required=True)
    parser.add_argument("--search_trials", required=True)
    parser.add_argument("--plots", required=True)
    parser.add_argument("--model_name", required=True)
    return parser.parse_args()


def train(run: mlflow.ActiveRun, path: Path, settings: Settings, folder: Path) -> None:
    """Read, split, cross-validate, fit, evaluate on the holdout, save."""
    if unused := sorted(settings.fixed - set(settings.values)):
        print(f"{STEP}: {settings.model} has no {', '.join(unused)}, which is left unused")
    folds = settings.cv_folds if settings.cv_repeats else 2
    parts = split(read_passengers(path), settings.test_size, settings.split_seed, smallest_class=folds)
    cv = cross_validated_metrics(parts.train, settings)
    settings = tune(parts.train, settings, folder)
    model = fit(parts.train, settings)
    probability = model.predict_proba(parts.holdout[FEATURES])[:, 1]
    results = score(parts.holdout[TARGET].to_numpy(), probability)

    parts.train.to_csv(folder / "train.csv", index=False)
    parts.holdout.to_csv(folder / "holdout.csv", index=False)
    digest = log_datasets(run, path, folder)
    (folder / "model_card.md").write_text(write_card(settings, parts, digest, probability, results, cv))
    if settings.plots:
        from training_plots import draw  # matplotlib takes a while to import

        draw(model, parts.holdout, probability, folder / "plots", settings.seed)
    mlflow.log_metrics({"rows_train": len(parts.train), "rows_holdout": len(parts.holdout)} | results | cv)
    mlflow.log_artifacts(str(folder))
    registered = log_model(model, parts, settings, digest)
    mlflow.set_tags({"model.name": settings.model_name, "model.version": registered})
    print(
        f"{STEP}: {settings.model} on {len(parts.train)} passengers; on the {len(parts.holdout)} held out "
        f"accuracy {results['accuracy']:.3f}, ROC AUC {results['roc_auc']:.3f}; "
        f"{settings.model_name} version {registered}"
    )


def fit(passengers: pd.DataFrame, settings: Settings) -> ClassifierMixin:
    return build(settings.model, settings.values, settings.seed).fit(passengers[FEATURES], passengers[TARGET])


def cross_validated_metrics(train: pd.DataFrame, settings: Settings) -> dict[str, float]:
    """Cross-validated metrics of the whole training, its search included; none with cv_repeats=0."""
    if not settings.cv_repeats:
        return {}

    def search_and_fit(passengers: pd.DataFrame) -> ClassifierMixin:
        return fit(passengers, tune(passengers, settings))

    return summary(cross_validate(search_and_fit, train, settings.cv_folds, settings.cv_repeats, settings.split_seed))


def tune(train: pd.DataFrame, settings: Settings, folder: Path | None = None) -> Settings:
    """The settings with the best hyperparameters found; all trials go into search_trials.csv in `folder`."""
    if not settings.search_trials:
        return settings
    from hyperparameter_search import search

    values, trials = search(
        settings.model, settings.values, settings.fixed, train, settings.search_trials, settings.seed, folder is None
    )
    if folder:
        trials.to_csv(folder / "search_trials.csv", index=False)
        mlflow.set_tags({f"search.{name}": str(value) for name, value in values.items()})
    return replace(settings, values=values)


def log_datasets(run: mlflow.ActiveRun, path: Path, folder: Path) -> str:
    """Log the datasets: what was read and what it was split into; returns the input's SHA-256 in hex."""
    source = shlex.split(run.data.params.get("input", "")) or [str(path)]
    digest = log_dataset(path, source[0], "training")
    for name in ("train.csv", "holdout.csv"):
        log_dataset(folder / name, f"runs:/{run.info.run_id}/{name}", name.removesuffix(".csv"))
    return digest


def log_dataset(path: Path, source: str, context: str) -> str:
    """Log one file as a dataset of the run; returns its SHA-256 in hex."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    # MLflow keeps at most 36 characters of a digest. That its MetaDataset lacks a `profile` is its own omission.
    dataset = MetaDataset(  # type: ignore[abstract]  # see above
        LocalArtifactDatasetSource(source), name=path.name, digest=digest[:32]
    )
    mlflow.log_input(dataset, context)
    return digest


def log_model(model: object, parts: Split, settings: Settings, digest: str) -> int:
    """Save and register the model; returns its version."""
    example = parts.train[FEATURES].head(3)
    tags = {
        "data.sha256": digest,
        "split_seed": settings.split_seed,
        "test_size": settings.test_size,
        "model": settings.model,
        "rows_train": len(parts.train),
    }
    info = Model.log(
        artifact_path=None,
        name="model",
        flavor=skops_flavor,
        flavor_name="sklearn",
        sk_model=model,
        signature=signature(),
        input_example=example.astype(object).where(example.notna(), None),  # type: ignore[call-overload]  # stubs: no None
        pip_requirements=[f"mlflow=={mlflow.__version__}", *(f"{name}=={version(name)}" for name in PACKAGES)],
        python_version=platform.python_version(),
        validate_serving_input=False,
        registered_model_name=settings.model_name,
        tags={name: str(value) for name, value in tags.items()},
        await_registration_for=0,
    )
    return int(info.registered_model_version)


def signature() -> ModelSignature:
    """The raw columns that the model reads, without the outcome, and the outcome it gives."""
    inputs = Schema([ColSpec(TYPES.get(name, "string"), name) for name in FEATURES])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec("long", TARGET)]))


if __name__ == "__main__":
    sys.exit(main())
