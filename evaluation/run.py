"""evaluation: a model and rows that it has not seen in, a verdict out; a model that passes becomes champion."""

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import champion_registry as registry
import mlflow
import pandas as pd
from data_faults import faults
from evaluation_report import page
from gate import make_gate
from mlflow.entities import LoggedModelInput
from mlflow.entities.model_registry import ModelVersion
from saved_model import SavedModel, open_model
from step import boolean, file_digest, log_dataset, number, optional, parse_parameters, requested_uri, run_step, whole
from step_error import StepError, first_line
from table import REGRESSION, Table
from verdict import Judged, make_verdict, refuse_other_table, run_metrics, summary

STEP = "evaluation"


def main() -> int:
    return run_step(STEP, evaluate)


def evaluate(run: mlflow.ActiveRun, folder: Path) -> None:
    """Evaluate the model, log the verdict, and move the aliases.

    Raises:
        StepError: something is wrong with the inputs, or the model is rejected and there is no champion.
    """
    share = number(0, 1)
    given = parse_parameters(
        STEP,
        model=str,
        holdout=Path,
        champion=str,
        minimum_accuracy=optional(share),
        minimum_balanced_accuracy=optional(share),
        minimum_roc_auc=optional(share),
        minimum_r2=optional(number(-1e9, 1)),
        max_calibration_error=optional(share),
        min_slice_accuracy=optional(share),
        min_slice_size=whole(1, 10**9),
        tolerance=share,
        min_compared=whole(1, 10**9),
        accept_change=boolean,
        promote=boolean,
        report=boolean,
    )
    model = open_model(given.model)
    table = model.table
    gate = make_gate(table, vars(given))
    holdout = read_holdout(table, given.holdout)
    client = mlflow.MlflowClient()
    version = registry.find_version(client, model)
    champion_version = registry.find_champion(client, given.champion or f"models:/{table.name}@{registry.CHAMPION}")
    challenger, champion = Judged(model, version, model.predict(holdout)), None
    if champion_version:
        champion = judge_champion(champion_version, challenger, holdout, folder)
    anchor, notes = judge_anchor(client, challenger, champion, holdout, folder)
    rollback_reason = registry.find_rollback_reason(client, version, model.sha256)
    faulty, more = compare_tables(challenger, champion, gate.min_compared, folder)
    times = registry.times_judged(client, version, file_digest(given.holdout))
    verdict, slices = make_verdict(gate, holdout, challenger, champion, anchor, faulty, rollback_reason, times)
    verdict["notes"] += notes + more
    if verdict["verdict"] == "promoted" and not given.promote:
        verdict["verdict"] = "passed"
        verdict["summary"] = summary(verdict, table)
    pictures = {}
    if given.report:
        from evaluation_report import draw  # matplotlib and MLflow's evaluation take a while to import

        judged = {"challenger": challenger} | ({"champion": champion} if champion else {})
        truth = holdout[table.target.name].to_numpy()
        pictures = draw(table, truth, {name: one.predicted for name, one in judged.items()})
        for name, one in judged.items():
            if name == "challenger" or one.model is not model:
                log_mlflow_evaluation(holdout, name, one.model)
    output = folder / "output"
    output.mkdir()
    (output / "verdict.json").write_text(json.dumps(verdict, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (output / "evaluation.html").write_text(page(verdict, table, slices, pictures), encoding="utf-8")
    if not slices.empty:
        slices.to_csv(output / "slices.csv", index=False)
    mlflow.log_artifacts(str(output))
    mlflow.log_metrics(run_metrics(verdict))
    if model.model_id:
        client.log_inputs(run.info.run_id, models=[LoggedModelInput(model.model_id)])
    log_dataset(given.holdout, requested_uri(run, "holdout", given.holdout), "holdout")
    registry.set_tags(client, version, {"model.sha256": model.sha256})
    apply_verdict(client, verdict, version, champion_version, run.info.run_id)
    print(f"{STEP}: {verdict['summary']}")


def read_holdout(table: Table, path: Path) -> pd.DataFrame:
    """The rows to judge on.

    Raises:
        StepError: no clean table, or the same target in all of it.
    """
    rows = table.read(path)
    if rows[table.target.name].nunique() < 2:
        raise StepError(
            f"the holdout {path.name} needs {table.rows} with different values of {table.target.name}, and has "
            f"{len(rows)} with none that differ; give training's holdout.csv"
        )
    return rows


def judge_champion(version: ModelVersion, challenger: Judged, holdout: pd.DataFrame, folder: Path) -> Judged:
    """The champion, opened as safely as any other; the challenger itself where they are the same version.

    Raises:
        StepError: it cannot be opened, or not be asked about this holdout.
    """
    if registry.same_version(version, challenger.version):
        return challenger
    uri = f"models:/{version.name}/{version.version}"
    try:
        model = open_model(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder / "champion")))
    except (StepError, mlflow.MlflowException, OSError) as error:
        raise StepError(
            f"the champion {uri} cannot be opened ({error}); go back with mlflow run evaluation -e rollback"
        ) from error
    refuse_other_table(model, challenger.model, holdout)
    own = rows_of_run(model, version, "holdout.csv", folder)
    return Judged(model, version, model.predict(holdout), None if own is None else own[model.table.key.name])


def judge_anchor(
    client: mlflow.MlflowClient, challenger: Judged, champion: Judged | None, holdout: pd.DataFrame, folder: Path
) -> tuple[Judged | None, list[str]]:
    """The best champion that ever was; None where nobody knows it, or it cannot be asked any more, and a note on that.

    Without a champion of its name there is none either: what may be champion then is asked nothing but the minimum.
    """
    name = challenger.version.name
    version, notes = registry.find_anchor(client, name)
    if version is None or champion is None or champion.version.name != name:
        return None, notes
    for known in (challenger, champion):
        if registry.same_version(version, known.version):
            return known, notes
    try:
        return judge_champion(version, challenger, holdout, folder / "anchor"), notes
    except StepError as error:
        return None, [f"the best champion so far, version {version.version}, is not compared with: {error}"]


def compare_tables(
    challenger: Judged, champion: Judged | None, min_new: int, folder: Path
) -> tuple[list[str], list[str]]:
    """What looks wrong with the challenger's training table beside the champion's; and a note where one is gone."""
    if champion is None or champion.model.sha256 == challenger.model.sha256:
        return [], []
    ours, theirs = challenger.model.table, champion.model.table
    after, before = (rows_of_run(one.model, one.version, "train.csv", folder) for one in (challenger, champion))
    if before is None or after is None:
        return [], ["what the two were trained on is not there any more (train.csv), so the tables are not compared"]
    columns = [
        name
        for name in challenger.model.columns
        if (other := theirs.by_name.get(name)) and name in before and other.type == ours.by_name[name].type
    ]
    return faults(ours, columns, before, after, min_new), []


def rows_of_run(model: SavedModel, version: ModelVersion, name: str, folder: Path) -> pd.DataFrame | None:
    """The rows of a file that the version's training run left; None where that is gone."""
    if not version.run_id:
        return None
    try:
        path = mlflow.artifacts.download_artifacts(f"runs:/{version.run_id}/{name}", dst_path=str(folder))
        return model.table.read(Path(path))
    except (StepError, mlflow.MlflowException, OSError):
        return None


def log_mlflow_evaluation(holdout: pd.DataFrame, name: str, model: SavedModel) -> None:
    """MLflow's own evaluation, logged with the prefix mlflow_<name>_: metrics and plots."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    table, prefix = model.table, f"mlflow_{name}_"
    config: dict[str, Any] = {"log_model_explainability": False, "metric_prefix": prefix}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mlflow.models.evaluate(
                str(model.folder),  # open_model has refused all but skops by now
                holdout[[*model.columns, table.target.name]],
                targets=table.target.name,
                model_type="regressor" if table.task == REGRESSION else "classifier",
                evaluators="default",
                evaluator_config=config | ({} if table.positive is None else {"pos_label": table.positive}),
            )
        except Exception as error:  # it is stricter than the model, and no verdict rests on it
            print(
                f"{STEP}: MLflow's own evaluation of the {name} is left out: {first_line(error, 1000)}", file=sys.stderr
            )


def apply_verdict(
    client: mlflow.MlflowClient,
    verdict: dict[str, Any],
    version: ModelVersion,
    champion: ModelVersion | None,
    run_id: str,
) -> None:
    """Write the verdict into the registry.

    Raises:
        StepError: the model is rejected and there is no champion.
    """
    mlflow.set_tags({"verdict": verdict["verdict"], "verdict.reasons": "; ".join(verdict["reasons"])[:2000]})
    mlflow.set_tag("mlflow.note.content", verdict["summary"][:5000])  # the run's description: a pipeline says it
    is_champion = registry.same_version(version, champion)
    if not is_champion:
        registry.set_tags(client, version, {"verdict.run_id": run_id})
    if verdict["verdict"] == "promoted":
        registry.promote(client, version, champion, str(verdict["anchor"]["afterwards"]), run_id)
    elif verdict["verdict"] == "passed":
        registry.await_approval(client, version, champion, str(verdict["anchor"]["afterwards"]))
    elif verdict["verdict"] in ("rejected", "kept out"):
        registry.stay_out(client, version, verdict["verdict"], verdict["reasons"])
        if champion is None:
            raise StepError(verdict["summary"])
    elif champion and not is_champion:
        registry.set_tags(client, version, {"verdict": f"same as version {champion.version}"})
        registry.take_challenger_away(client, version.name, version)
    # What this run leaves in the registry, and what a later one must find there to be the same: see DESIGN.md.
    effect = {"model": version.name, "aliases": registry.aliases_now(client, version.name)}
    mlflow.set_tag("effect.registry", json.dumps(effect, sort_keys=True))


if __name__ == "__main__":
    sys.exit(main())
