"""monitoring: is what is being scored still like what the champion was trained on?

Drift by column, of missing values and of the predictions; with labels, live metrics against those at training. The
last line printed is the verdict as JSON, for an alerting system.
"""

import argparse
import hashlib
import json
import re
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import drift_pages
import mlflow
import pandas as pd
from champion_lineage import COMPARED_METRICS, Lineage, find_lineage, score_holdout
from drift import Finding, Verdict, column_kinds, compare, compare_accuracy, compare_numbers, decide
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.exceptions import MlflowException
from monitored_files import KEY, TARGET, MonitoringError, as_typed, live_metrics, read_list

STEP = "monitoring"
PREDICTED = [KEY, TARGET, "probability"]


@dataclass
class Results:
    """What the comparisons found, gathered for the verdict and the report."""

    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)  # become metrics
    notes: list[str] = field(default_factory=list)  # what was not done, and why


def main() -> int:
    arguments = parse_arguments()
    try:
        with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
            refuse_bad_values(arguments)
            verdict = monitor(arguments, run, Path(folder))
            if verdict.drift_detected and arguments.fail_on_drift == "true":
                raise MonitoringError(
                    f"drift in {', '.join(verdict.drifted)} (fail_on_drift=true); see drift.html of this run"
                )
    except MonitoringError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--current", type=Path, required=True)
    for name in ("reference", "predictions", "reference_predictions", "labels", "columns"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--alpha", type=float, required=True)
    parser.add_argument("--min_effect", type=float, required=True)
    parser.add_argument("--max_accuracy_drop", type=float, required=True)
    parser.add_argument("--min_rows", type=int, required=True)
    parser.add_argument("--max_rows", type=int, required=True)
    parser.add_argument("--report", required=True)
    parser.add_argument("--fail_on_drift", required=True)
    return parser.parse_args()


def refuse_bad_values(arguments: argparse.Namespace) -> None:
    """Raises MonitoringError that names every parameter out of its range."""
    problems = []
    if not 0 < arguments.alpha < 1:
        problems.append(f"alpha={arguments.alpha:g} is not a probability between 0 and 1")
    for name in ("min_effect", "max_accuracy_drop"):
        if not 0 <= getattr(arguments, name) <= 1:
            problems.append(f"{name}={getattr(arguments, name):g} is not a number from 0 to 1")
    for name, least in (("min_rows", 1), ("max_rows", 1000)):
        if getattr(arguments, name) < least:
            problems.append(f"{name}={getattr(arguments, name)} is not a number of rows from {least}")
    for name in ("report", "fail_on_drift"):
        if getattr(arguments, name) not in ("true", "false"):
            problems.append(f"{name}={getattr(arguments, name)!r} is neither true nor false")
    if arguments.labels and not arguments.predictions:
        problems.append("labels are given without predictions; give those too, to be compared with them")
    if problems:
        raise MonitoringError("; ".join(problems))


def monitor(arguments: argparse.Namespace, run: mlflow.ActiveRun, folder: Path) -> Verdict:
    """Read, compare, decide, report."""
    results, lineage = Results(), find_lineage_if_needed(arguments)
    if arguments.reference or lineage is None:  # without a model there is a reference
        reference_file, origin = fetch(arguments.reference), arguments.reference
    else:
        reference_file, origin = lineage.artifact("train.csv"), f"runs:/{lineage.run_id}/train.csv"
    before, rows_before = read_list(reference_file, [], arguments.max_rows)
    kinds = select_columns(arguments.columns, column_kinds(as_typed(before, before)[0]))
    after, rows_after = read_list(arguments.current, list(kinds), arguments.max_rows)
    reference, current = as_typed(before[list(kinds)], after)
    results.findings = compare(reference, current, kinds, arguments.min_effect)
    for name in kinds:
        results.figures[f"missing_share_{name}"] = float(current[name].isna().mean())
    if arguments.predictions:
        predictions = read_list(fetch(arguments.predictions), PREDICTED, arguments.max_rows)[0]
        results.figures["unscored_share"] = float(predictions["probability"].isna().mean())
        compare_predictions(results, arguments, lineage, predictions)
        if arguments.labels and lineage:  # with labels there is a model
            compare_with_labels(results, arguments, lineage, predictions)
    verdict = decide(results.findings, arguments.alpha, rows_before, rows_after, arguments.min_rows)
    write_reports(arguments, verdict, results, folder, reference, current, kinds)
    mlflow.log_metrics(metrics(verdict, results))
    if lineage:
        mlflow.set_tags(
            {"model.run_id": lineage.run_id} | ({"model.version": lineage.version} if lineage.version else {})
        )
    mlflow.log_inputs(
        datasets=[dataset(arguments.current, requested_uri(run, "current")), dataset(reference_file, origin)],
        contexts=["monitoring", "reference"],
        tags_list=[{}, {}],
    )
    print_summary(verdict, results)
    return verdict


def find_lineage_if_needed(arguments: argparse.Namespace) -> Lineage | None:
    """The model's lineage; None where it is not there and not needed."""
    try:
        return find_lineage(arguments.model)
    except MonitoringError:
        if arguments.reference and not arguments.labels:
            return None
        raise


def fetch(uri: str) -> Path:
    """A local path, or a copy of what an artifact URI names."""
    if Path(uri).is_file():
        return Path(uri)
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (MlflowException, OSError) as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise MonitoringError(f"{uri!r} could not be downloaded ({reason}); give a path or an artifact URI") from None


def select_columns(columns: str, kinds: dict[str, str]) -> dict[str, str]:
    """The columns to compare: those asked for, or all that can be."""
    names = [name.strip() for name in columns.split(",") if name.strip()]
    if unknown := [name for name in names if name not in kinds]:
        raise MonitoringError(
            f"columns names {', '.join(unknown)}, which the reference does not have or which cannot be compared; "
            f"these can: {', '.join(kinds)}"
        )
    return {name: kinds[name] for name in names} if names else kinds


def compare_predictions(
    results: Results, arguments: argparse.Namespace, lineage: Lineage | None, predictions: pd.DataFrame
) -> None:
    """Live probabilities against those for the holdout, which the model had not seen at training either."""
    if arguments.reference_predictions:
        reference = read_list(fetch(arguments.reference_predictions), ["probability"], arguments.max_rows)[0]
    elif lineage:
        reference = score_holdout(lineage)
    else:
        results.notes.append("Drift of the predictions was not judged: no reference_predictions, no model.")
        return
    before, after = (
        pd.to_numeric(frame["probability"], errors="coerce").dropna() for frame in (reference, predictions)
    )
    if len(after):
        results.figures["mean_probability"] = float(after.mean())
        results.figures["mean_probability_reference"] = float(before.mean())
    if finding := compare_numbers("prediction", before, after, arguments.min_effect):
        results.findings.append(finding)
    else:
        results.notes.append(
            f"Drift of the predictions was not judged: {len(after)} against {len(before)} are too few."
        )


def compare_with_labels(
    results: Results, arguments: argparse.Namespace, lineage: Lineage, predictions: pd.DataFrame
) -> None:
    """Live metrics beside those at training, and whether the accuracy has fallen: concept drift."""
    labels = read_list(fetch(arguments.labels), [KEY, TARGET], arguments.max_rows)[0]
    live = live_metrics(predictions, labels)
    results.figures |= live
    training = {name: lineage.metrics[name] for name in COMPARED_METRICS if name in lineage.metrics}
    results.figures |= {f"training_{name}": value for name, value in training.items()}
    rows, held_out = int(live["live_rows"]), int(lineage.metrics.get("rows_holdout", 0))
    if rows < arguments.min_rows:
        results.notes.append(
            f"The live accuracy was not judged: {rows} labelled passengers are too few; min_rows={arguments.min_rows}."
        )
    elif not held_out or "accuracy" not in training:
        results.notes.append("The live accuracy was not judged: the training run has no accuracy, rows_holdout.")
    else:
        right = (round(training["accuracy"] * held_out), held_out, round(live["live_accuracy"] * rows), rows)
        results.findings.append(compare_accuracy(*right, min_effect=arguments.max_accuracy_drop))


def write_reports(
    arguments: argparse.Namespace,
    verdict: Verdict,
    results: Results,
    folder: Path,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: dict[str, str],
) -> None:
    """drift.html and drift.json, whole, as the run's artifacts."""
    content = drift_pages.as_dict(verdict, results.figures, results.notes, arguments.alpha)
    summary = drift_pages.summary(content, drift_pages.headline(verdict))
    page = drift_pages.page(summary)
    if arguments.report == "true":
        from evidently_report import ReportError, make_report

        decisions = {
            finding.name: (finding.adjusted_p_value, finding.drifted)
            for finding in verdict.findings
            if finding.name in kinds
        }
        try:
            evidently, content["evidently"] = make_report(folder, reference, current, kinds, decisions, arguments.alpha)
        except ReportError as error:
            raise MonitoringError(f"Evidently could not make its report ({error}); report=false goes without") from None
        page = evidently.replace("<body>", f"<body>\n{summary}", 1)
    outputs = folder / "outputs"
    outputs.mkdir()
    (outputs / "drift.html").write_text(page)
    (outputs / "drift.json").write_text(drift_pages.as_json(content))
    mlflow.log_artifacts(str(outputs))


def metrics(verdict: Verdict, results: Results) -> dict[str, float]:
    """drift_detected and drifted_share; each comparison's statistic and p-value; the figures."""
    values = {
        "drift_detected": int(verdict.drift_detected),
        "drifted_share": verdict.drifted_share,
        "too_few_rows": int(bool(verdict.too_few)),
        "rows_reference": verdict.rows_reference,
        "rows_current": verdict.rows_current,
    }
    for finding in verdict.findings:
        name = metric_name(finding.name)
        values |= {
            f"statistic_{name}": finding.statistic,
            f"p_value_{name}": finding.p_value,
            f"drift_{name}": int(finding.drifted),
        }
        if finding.name == "accuracy":
            values["concept_drift"] = int(finding.drifted)
    return values | {metric_name(name): value for name, value in results.figures.items()}


def metric_name(name: str) -> str:
    """A column's name, with what MLflow does not take in a metric's name as underscores."""
    return re.sub(r"[^\w.:/-]", "_", name)


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


def print_summary(verdict: Verdict, results: Results) -> None:
    """Print the result for people and, as the last line, as JSON for an alerting system."""
    print(f"{STEP}: {verdict.rows_current} current rows against {verdict.rows_reference}")
    for note in results.notes:
        print(f"{STEP}: {note}")
    print(f"{STEP}: {drift_pages.headline(verdict)}")
    line = {
        "step": STEP,
        "drift_detected": verdict.drift_detected,
        "drifted": verdict.drifted,
        "drifted_share": drift_pages.rounded(verdict.drifted_share),
        "rows_current": verdict.rows_current,
        "too_few": verdict.too_few,
    }
    line |= {name: drift_pages.rounded(value) for name, value in results.figures.items() if name.startswith("live_")}
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
