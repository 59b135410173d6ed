"""evaluation: a model and the passengers it has not seen in, a verdict out; a model that passes becomes champion."""

import argparse
import hashlib
import json
import logging
import shlex
import sys
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import champion_registry as registry
import mlflow
import numpy as np
import pandas as pd
from comparison import Difference, compare, in_holdout, largest_gaps, score, slices
from evaluation_model import EvaluationError, SavedModel, open_model
from evaluation_report import page
from gate import RANGES, Gate, parse_gate, reasons_against
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.entities import LoggedModelInput
from mlflow.entities.model_registry import ModelVersion

STEP = "evaluation"
TARGET = "Survived"


def main() -> int:
    arguments = parse_arguments()
    try:
        with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
            print(f"{STEP}: {evaluate(run, arguments, Path(folder))}")
    except EvaluationError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--holdout", type=Path, required=True)
    parser.add_argument("--champion", required=True)
    parser.add_argument("--min_accuracy", required=True)
    parser.add_argument("--min_auc", required=True)
    parser.add_argument("--max_calibration_error", required=True)
    parser.add_argument("--min_slice_accuracy", required=True)
    parser.add_argument("--min_slice_size", required=True)
    parser.add_argument("--tolerance", required=True)
    parser.add_argument("--min_compared", required=True)
    parser.add_argument("--report", required=True)
    parser.add_argument("--model_name", required=True)
    return parser.parse_args()


def evaluate(run: mlflow.ActiveRun, arguments: argparse.Namespace, folder: Path) -> str:
    """Evaluate the model, log the verdict, and move the aliases; returns the summary.

    Raises:
        EvaluationError: something is wrong with the inputs, or the model is rejected and there is no champion.
    """
    gate = parse_gate({name: getattr(arguments, name) for name in RANGES})
    if arguments.report not in ("true", "false"):
        raise EvaluationError(f"report={arguments.report!r} is not true or false")
    registry.check_name(arguments.model_name)
    client = mlflow.MlflowClient()
    model, holdout = open_model(arguments.model), read_holdout(arguments.holdout)
    version = registry.find_version(client, model, arguments.model_name)
    champion_version = registry.find_champion(
        client, arguments.champion or f"models:/{arguments.model_name}@{registry.CHAMPION}"
    )
    champion = open_champion(champion_version, version, model, folder)
    survived = holdout[TARGET].to_numpy()
    probabilities = {"challenger": model.probability(holdout).to_numpy()}
    if champion:
        probabilities["champion"] = champion.probability(holdout).to_numpy()
    rollback_reason = registry.find_rollback_reason(client, version, model.sha256)
    verdict, table = make_verdict(
        holdout, probabilities, gate, version, champion_version, model, champion, rollback_reason
    )
    pictures = {}
    if arguments.report == "true":
        from evaluation_report import draw

        pictures = draw(survived, probabilities)
        log_mlflow_evaluation(holdout, "challenger", model)
        if champion and champion is not model:
            log_mlflow_evaluation(holdout, "champion", champion)
    output = folder / "output"
    output.mkdir()
    (output / "verdict.json").write_text(json.dumps(verdict, indent=2) + "\n")
    (output / "evaluation.html").write_text(page(verdict, table, pictures))
    table.to_csv(output / "slices.csv", index=False)
    mlflow.log_artifacts(str(output))
    mlflow.log_metrics(run_metrics(verdict))
    log_inputs(client, run, model, arguments.holdout)
    registry.set_tags(client, version, {"model.sha256": model.sha256})
    apply_verdict(client, verdict, version, champion_version, run.info.run_id)
    return str(verdict["summary"])


def read_holdout(path: Path) -> pd.DataFrame:
    """The passengers to judge on.

    Raises:
        EvaluationError: not a CSV file, a column missing, or not both outcomes in it.
    """
    texts = ["Name", "Sex", "Ticket", "Cabin", "Embarked"]
    try:
        frame = pd.read_csv(path, dtype={name: "object" for name in texts})
    except (OSError, ValueError) as error:  # pandas' and Unicode errors are ValueErrors
        raise EvaluationError(f"the holdout {path.name} is not a readable CSV file ({error})") from None
    if missing := [name for name in ["PassengerId", TARGET, "Sex", "Pclass", "Age"] if name not in frame.columns]:
        raise EvaluationError(
            f"the holdout {path.name} has no column {', '.join(missing)}; give training's holdout.csv"
        )
    if set(frame[TARGET].unique()) != {0, 1}:
        raise EvaluationError(f"the holdout {path.name} needs passengers with {TARGET} 0 and with 1, and no others")
    if not pd.api.types.is_integer_dtype(frame["PassengerId"]):
        raise EvaluationError(f"the holdout {path.name} has PassengerId values that are missing or no integers")
    return frame.astype({TARGET: "int64", "Age": "float64"})


def open_champion(
    champion: ModelVersion | None, challenger: ModelVersion, model: SavedModel, folder: Path
) -> SavedModel | None:
    """The champion's model, as safely as any other; the challenger's own where they are the same version."""
    if champion is None:
        return None
    if champion.name == challenger.name and str(champion.version) == str(challenger.version):
        return model
    uri = f"models:/{champion.name}/{champion.version}"
    try:
        path = mlflow.artifacts.download_artifacts(uri, dst_path=str(folder / "champion"))
        return open_model(Path(path))
    except (EvaluationError, mlflow.MlflowException, OSError) as error:
        raise EvaluationError(
            f"the champion {uri} cannot be opened ({error}); go back with mlflow run evaluation -e rollback"
        ) from error


def make_verdict(
    holdout: pd.DataFrame,
    probabilities: dict[str, np.ndarray],
    gate: Gate,
    version: ModelVersion,
    champion_version: ModelVersion | None,
    model: SavedModel,
    champion: SavedModel | None,
    rollback_reason: str,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The verdict with all its figures, and the table of slices. Nothing is changed.

    `rollback_reason`: why the model was rolled back before, "" if it was not.
    """
    survived = holdout[TARGET].to_numpy()
    metrics = {name: score(survived, probability) for name, probability in probabilities.items()}
    table = slices(holdout, survived, probabilities["challenger"])
    is_champion = champion_version is not None and champion_version.version == version.version
    same_model = champion is not None and champion.sha256 == model.sha256
    difference, compared, notes = None, None, notes_on_holdout(holdout, version)
    if champion and champion_version and not same_model:
        difference, compared, more = compare_unseen(holdout, probabilities, version, champion_version, gate)
        notes += more
    reasons = reasons_against(gate, metrics["challenger"], table, difference, compared)
    if rollback_reason and not same_model:
        reasons.append(f"this model was champion and was rolled back ({rollback_reason})")
    if same_model and not is_champion:
        notes.append(f"version {version.version} is the same model as the champion, byte for byte")
    if same_model and reasons:
        notes.append("the champion itself would not pass this gate today")
    outcome = "kept" if same_model else "rejected" if reasons else "promoted"
    verdict: dict[str, Any] = {
        "verdict": outcome,
        "summary": "",
        "reasons": reasons,
        "notes": notes,
        "challenger": {"version": int(version.version), "metrics": metrics["challenger"]},
        "champion": None,
        "difference": difference and asdict(difference),
        "holdout": {"rows": len(holdout), "survived": int(survived.sum())},
        "gate": asdict(gate),
        "largest_gaps": largest_gaps(table, gate.min_slice_size),
        "slices": table.to_dict("records"),
    }
    if champion and champion_version:
        verdict["champion"] = {"version": int(champion_version.version), "metrics": metrics["champion"]}
    verdict["summary"] = summary(verdict)
    return verdict, table


def notes_on_holdout(holdout: pd.DataFrame, version: ModelVersion) -> list[str]:
    """A note where passengers of the holdout may be among those the model was trained on."""
    split = registry.split_of(version)
    seen = len(holdout) - int(in_holdout(holdout["PassengerId"], *split).sum()) if split else 0
    if not seen:
        return []
    return [f"{seen} of the {len(holdout)} passengers are not of the model's own holdout: it may have seen them"]


def compare_unseen(
    holdout: pd.DataFrame,
    probabilities: dict[str, np.ndarray],
    version: ModelVersion,
    champion: ModelVersion,
    gate: Gate,
) -> tuple[Difference | None, int, list[str]]:
    """Both models on the passengers that neither was trained on, how many these are, and what to say about it."""
    unseen, notes = np.ones(len(holdout), dtype=bool), []
    split = registry.split_of(champion)
    if split is None:
        notes.append(f"the champion's split is not known (no tags), so it may have seen some of the {len(holdout)}")
    elif split != registry.split_of(version):
        unseen = in_holdout(holdout["PassengerId"], *split)
        notes.append(
            f"the champion was trained with another split (test_size {split[0]:g}, split_seed {split[1]}): "
            f"{unseen.sum()} of {len(holdout)} passengers are unseen by both, and the comparison is on these"
        )
    rows = int(unseen.sum())
    if rows < gate.min_compared:
        return None, rows, notes
    survived = holdout[TARGET].to_numpy()[unseen]
    found = compare(survived, probabilities["challenger"][unseen], probabilities["champion"][unseen])
    return found, rows, notes


def summary(verdict: dict[str, Any]) -> str:
    """The verdict in one sentence."""
    metrics, champion = verdict["challenger"]["metrics"], verdict["champion"]
    start = (
        f"version {verdict['challenger']['version']} (accuracy {metrics['accuracy']:.3f}, "
        f"ROC AUC {metrics['roc_auc']:.3f} on {verdict['holdout']['rows']} held-out passengers) "
    )
    reasons = "; ".join(verdict["reasons"])
    if verdict["verdict"] == "promoted":
        before = f", after version {champion['version']}" if champion else ""
        return f"{start}passed and is champion now{before}"
    if verdict["verdict"] == "kept":
        is_same = champion["version"] == verdict["challenger"]["version"]
        end = "is champion already" if is_same else f"is the same model as the champion, version {champion['version']}"
        return f"{start}{end}" + (f"; today's gate would refuse it: {reasons}" if reasons else "")
    if champion:
        return f"{start}is rejected, version {champion['version']} stays champion: {reasons}"
    return (
        f"{start}is rejected, and there is no champion to go on with: {reasons}; train a better model or lower the gate"
    )


def run_metrics(verdict: dict[str, Any]) -> dict[str, float]:
    """The figures for the run: the challenger's as they are, the champion's with a prefix."""
    metrics = dict(verdict["challenger"]["metrics"])
    if verdict["champion"]:
        metrics |= {f"champion_{name}": value for name, value in verdict["champion"]["metrics"].items()}
    if verdict["difference"]:
        metrics |= {f"difference_{name}": float(value) for name, value in verdict["difference"].items()}
    return metrics | {
        "rows_holdout": verdict["holdout"]["rows"],
        "promoted": float(verdict["verdict"] == "promoted"),
        "rejected": float(verdict["verdict"] == "rejected"),
        "reasons": len(verdict["reasons"]),
    }


def log_mlflow_evaluation(holdout: pd.DataFrame, name: str, model: SavedModel) -> None:
    """MLflow's own evaluation, logged with the prefix mlflow_<name>_: metrics and five plots."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    data = holdout[[*model.columns, TARGET]].astype(dict.fromkeys(model.decimals, "float64"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mlflow.models.evaluate(
                str(model.folder),  # open_model has refused all but skops by now
                data,
                targets=TARGET,
                model_type="classifier",
                evaluators="default",
                evaluator_config={"log_model_explainability": False, "metric_prefix": f"mlflow_{name}_"},
            )
        except mlflow.MlflowException as error:  # it is stricter than the model: no empty cell in a whole-number column
            print(f"{STEP}: MLflow's own evaluation of the {name} is left out: {error}", file=sys.stderr)


def log_inputs(client: mlflow.MlflowClient, run: mlflow.ActiveRun, model: SavedModel, path: Path) -> None:
    """Log which model was evaluated on which data."""
    if model.model_id:
        client.log_inputs(run.info.run_id, models=[LoggedModelInput(model.model_id)])
    source = shlex.split(run.data.params.get("holdout", "")) or [str(path)]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:32]  # MLflow keeps at most 36 characters
    # That MLflow's MetaDataset lacks a `profile` is its own omission.
    dataset = MetaDataset(  # type: ignore[abstract]  # see above
        LocalArtifactDatasetSource(source[0]), name=path.name, digest=digest
    )
    mlflow.log_input(dataset, "holdout")


def apply_verdict(
    client: mlflow.MlflowClient,
    verdict: dict[str, Any],
    version: ModelVersion,
    champion: ModelVersion | None,
    run_id: str,
) -> None:
    """Write the verdict into the registry.

    Raises:
        EvaluationError: the model is rejected and there is no champion.
    """
    mlflow.set_tags({"verdict": verdict["verdict"], "verdict.reasons": "; ".join(verdict["reasons"])[:2000]})
    client.set_registered_model_alias(version.name, registry.CHALLENGER, version.version)
    is_champion = champion is not None and champion.version == version.version
    if not is_champion:
        registry.set_tags(client, version, {"verdict.run_id": run_id})
    if verdict["verdict"] == "promoted":
        registry.promote(client, version, champion, run_id)
    elif verdict["verdict"] == "rejected":
        registry.reject(client, version, verdict["reasons"])
        if champion is None:
            raise EvaluationError(verdict["summary"])
    elif champion and not is_champion:
        registry.set_tags(client, version, {"verdict": f"same as version {champion.version}"})


if __name__ == "__main__":
    sys.exit(main())
