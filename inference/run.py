"""inference: a model and passengers in, predictions.csv out.

One row for each input row, in the same order. A row that cannot be scored has empty cells and the reason in a
further column `error`.
"""

import argparse
import hashlib
import shlex
import sys
import tempfile
from pathlib import Path

import mlflow
from batch_scoring import Scorer, Totals, score_file
from csv_chunks import InputError
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from model_files import LoadedModel, ModelError, load

STEP = "inference"


def main() -> int:
    arguments = parse_arguments()
    try:
        with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
            refuse_bad_values(arguments)
            model = load(arguments.model)
            challenger = load(arguments.challenger) if arguments.canary > 0 else None
            shadow = load(arguments.shadow) if arguments.shadow else None
            predictions, differences = Path(folder) / "predictions.csv", Path(folder) / "shadow_differences.csv"
            totals = score(arguments, model, challenger, shadow, predictions, differences)
            metrics = totals.metrics(shadow is not None, arguments.canary > 0)
            mlflow.log_artifact(str(predictions))
            if shadow:
                mlflow.log_artifact(str(differences))
            mlflow.log_metrics(metrics)
            mlflow.set_tags(
                model_tags("model", model) | model_tags("challenger", challenger) | model_tags("shadow", shadow)
            )
            mlflow.log_inputs(
                datasets=[dataset(arguments.input, requested_uri(run, "input")), dataset(predictions)],
                contexts=["scoring", "output"],
                tags_list=[{}, {}],
            )
    except (InputError, ModelError) as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    print_summary(totals, metrics, model)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--shadow", required=True)
    parser.add_argument("--canary", type=float, required=True)
    parser.add_argument("--challenger", required=True)
    parser.add_argument("--model_version_column", required=True)
    parser.add_argument("--chunk_rows", type=int, required=True)
    return parser.parse_args()


def refuse_bad_values(arguments: argparse.Namespace) -> None:
    """Raises InputError that names every parameter out of its range."""
    problems = []
    if not 0 <= arguments.canary <= 1:
        problems.append(f"canary={arguments.canary:g} is not a share from 0 to 1")
    if arguments.model_version_column not in ("true", "false"):
        problems.append(f"model_version_column={arguments.model_version_column!r} is neither true nor false")
    if not 1 <= arguments.chunk_rows <= 10_000_000:
        problems.append(f"chunk_rows={arguments.chunk_rows} is not a number of rows from 1 to 10000000")
    if problems:
        raise InputError("; ".join(problems))


def score(
    arguments: argparse.Namespace,
    model: LoadedModel,
    challenger: LoadedModel | None,
    shadow: LoadedModel | None,
    predictions: Path,
    differences: Path,
) -> Totals:
    """Score the input with a progress bar; `differences` is written where there is a shadow model."""
    from tqdm import tqdm

    size = arguments.input.stat().st_size if arguments.input.is_file() else 0
    with tqdm(total=size, desc=STEP, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        return score_file(
            arguments.input,
            predictions,
            scorer(model),
            challenger=scorer(challenger) if challenger else None,
            canary=arguments.canary,
            shadow=scorer(shadow) if shadow else None,
            differences=differences if shadow else None,
            model_version_column=arguments.model_version_column == "true",
            chunk_rows=arguments.chunk_rows,
            progress=lambda position: bar.update(position - bar.n),
        )


def scorer(model: LoadedModel) -> Scorer:
    return Scorer(model.classifier, model.kinds, model.label)


def model_tags(role: str, model: LoadedModel | None) -> dict[str, str]:
    """Tags that identify the model: model.name, model.version, model.run_id, model.id."""
    if model is None:
        return {}
    found = {"name": model.name, "version": model.version, "run_id": model.run_id, "id": model.model_id}
    return {f"{role}.{key}": value for key, value in found.items() if value}


def requested_uri(run: mlflow.ActiveRun, parameter: str) -> str:
    """The parameter as requested (a URI, where `path` has become a local copy); MLflow stores it shell-quoted."""
    words = shlex.split(run.data.params.get(parameter, ""))
    return words[0] if words else ""


def dataset(path: Path, source: str = "") -> MetaDataset:
    """A file as an MLflow dataset: where it came from and the digest of its content, read in chunks."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # That MLflow's MetaDataset lacks a `profile` is its own omission.
    return MetaDataset(  # type: ignore[abstract]  # see above
        LocalArtifactDatasetSource(source or path.name), name=path.name, digest=digest[:32]
    )


def print_summary(totals: Totals, metrics: dict[str, float], model: LoadedModel) -> None:
    which = f"{model.name} version {model.version}" if model.version else f"model {model.label}"
    scored = f"{totals.scored} of {totals.rows} passengers scored by {which}"
    print(f"{STEP}: {scored}, {totals.survived} predicted to survive")
    if metrics["errors"]:
        columns = ", ".join(f"{name} {count}" for name, count in totals.errors_by_column.most_common())
        print(f"{STEP}: {metrics['errors']} rows could not be scored, see the column error (by column: {columns})")
    if "shadow_agreement" in metrics:
        print(f"{STEP}: the shadow model agrees on {metrics['shadow_agreement']:.1%} of the scored passengers")


if __name__ == "__main__":
    sys.exit(main())
