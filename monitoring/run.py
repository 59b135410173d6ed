"""monitoring: is what is being scored still like what the champion was trained on?

Drift by column, of missing values and of the predictions; where outcomes are known by now, of these too, and live
metrics against those at training. The last line printed is the verdict as JSON, for an alerting system.
"""

import argparse
import functools
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import alerts
import drift
import drift_pages
import lasting
import mlflow
import numpy as np
import pandas as pd
from champion_lineage import Lineage
from declaration import read_declaration
from drift import CATEGORY, MISSING, NUMBER, Finding, Verdict
from grouped_rows import Groups, design_effects, group_codes
from monitored_files import read_predictions, read_rows
from predictions import PROBABILITY, probability_columns, score
from saved_model import champion_uri, open_model
from sharing import Sharing
from spark import ENGINES
from step import boolean, choice, fetch, log_dataset, number, optional, parse_parameters, requested_uri, run_step, whole
from step_error import StepError
from table import BINARY, DATE_FORMATS, MULTICLASS, REGRESSION, Table, metric_name

STEP = "monitoring"
SHIFT, ROWS = "shift_", "shift_rows_"  # the beginnings of metrics that are kept for later runs
LIST = "monitoring.current"  # the tag that has the digest of what was watched
MOST_ROWS = 1_000_000_000
MAX_ACCURACY_DROP, MAX_ERROR_RISE = 0.05, 0.1  # where none is given


def main() -> int:
    return run_step(STEP, work)


def work(run: mlflow.ActiveRun, folder: Path) -> None:
    parameters = parse_parameters(
        STEP,
        current=Path,
        reference=str,
        predictions=str,
        reference_predictions=str,
        model=str,
        dataset=str,
        columns=str,
        alpha=number(0, 1),
        min_effect=number(0, 1),
        max_accuracy_drop=optional(number(0, 1)),
        max_error_rise=optional(number(0, 1)),
        min_rows=whole(1, MOST_ROWS),
        max_rows=whole(1000, MOST_ROWS),
        past_runs=whole(0, 100_000),
        workers=whole(0, 1024),
        engine=choice(*ENGINES),
        master=str.strip,
        report=boolean,
        alert=str,
        alert_template=str,
        fail_on_drift=boolean,
    )
    parameters.alert = alerts.parse_alerts(parameters.alert)
    template = parameters.alert_template
    parameters.alert_template = alerts.read_template(fetch(template, "alert_template")) if template else alerts.TEMPLATE
    verdict = monitor(parameters, run, folder)
    if verdict.drift_detected and parameters.fail_on_drift:
        raise StepError(f"drift in {', '.join(verdict.drifted)} (fail_on_drift=true); see drift.html of this run")


def monitor(parameters: argparse.Namespace, run: mlflow.ActiveRun, folder: Path) -> Verdict:
    """Read, compare, decide, report."""
    sharing = Sharing(parameters.workers, parameters.engine, parameters.master)
    lineage = find_lineage(parameters, sharing)
    table = declared_table(parameters, lineage)
    limit = loss_limit(parameters, table)
    if parameters.reference or lineage is None:  # without a model there is a reference
        reference_file, origin = fetch(parameters.reference, "reference"), parameters.reference
    else:
        reference_file, origin = lineage.artifact("train.csv"), f"runs:/{lineage.model.run_id}/train.csv"
    before, rows_before, _ = read_rows(table, reference_file, parameters.max_rows, sharing=sharing)
    kinds = select_columns(parameters.columns, table, drift.column_kinds(table, before))
    wanted = [*kinds, table.group]
    after, rows_after, gaps = read_rows(table, parameters.current, parameters.max_rows, wanted, sharing)
    absent = [name for name in kinds if name not in after]  # as what is not for models may be
    kinds = {name: kind for name, kind in kinds.items() if name in after}
    reference, current = (drift.comparable(table, rows, kinds) for rows in (before, after))
    groups = group_codes(table, before), group_codes(table, after)
    found = Comparison(parameters, sharing, table, lineage, limit, kinds, reference, current, groups)
    found.findings = drift.compare(reference, current, kinds, parameters.min_effect, groups)
    found.shifts = lasting.table_shifts(table, kinds, reference, current, parameters.min_effect, groups)
    found.figures = {f"missing_share_{name}": float(gaps[name] / rows_after) for name in kinds}
    found.notes = [f"{name} was not compared: {parameters.current.name} does not have it." for name in absent]
    predicted = found.compare_predictions(after[table.key.name]) if parameters.predictions else None
    if table.target.name in after and not (known := after.dropna(subset=table.target.name)).empty:
        found.compare_outcomes(before, known, predicted)
    importance = found.importance()
    verdict = drift.decide(found.findings, parameters.alpha, rows_before, rows_after, parameters.min_rows, importance)
    digest = log_dataset(parameters.current, requested_uri(run, "current", parameters.current), "monitoring")
    if lineage and lineage.model.run_id:
        tags = {"model.run_id": lineage.model.run_id, "model.version": lineage.model.version, LIST: digest}
        mlflow.set_tags({name: value for name, value in tags.items() if value})
        past = earlier_runs(run, lineage.model.run_id, digest, parameters.past_runs, found.shifts)
        verdict = replace(verdict, findings=(*verdict.findings, *lasting.add_up(found.shifts, past, parameters.alpha)))
    write_reports(found, verdict, folder)
    mlflow.log_metrics(metrics(verdict, found.figures) | shift_metrics(found.shifts))
    log_dataset(reference_file, origin, "reference")
    line = summary_line(verdict, found)
    if verdict.drift_detected:
        tell(parameters.alert, line | {"run_id": run.info.run_id}, parameters.alert_template)
    print_summary(verdict, found)
    print(json.dumps(line), flush=True)  # the last line, for an alerting system
    return verdict


def find_lineage(parameters: argparse.Namespace, sharing: Sharing) -> Lineage | None:
    """The model's lineage; None where no model is named, and none is needed."""
    if not parameters.model and parameters.reference and parameters.dataset:
        return None
    try:
        uri = parameters.model or champion_uri()
    except StepError as error:
        raise StepError(f"{error}, or give reference=… and dataset=… (datapackage.json or dataset.yaml)") from None
    return Lineage(open_model(uri), parameters.max_rows, sharing)


def declared_table(parameters: argparse.Namespace, lineage: Lineage | None) -> Table:
    """What the columns are: as `dataset` says, else as the model does."""
    if lineage and not parameters.dataset:
        return lineage.model.table
    table = read_declaration(fetch(parameters.dataset, "dataset"))
    if lineage and (table.task, table.target.name) != (lineage.model.table.task, lineage.model.table.target.name):
        raise StepError(
            f"dataset={parameters.dataset!r} declares the target {table.target.name} ({table.task}), but "
            f"{lineage.model} predicts {lineage.model.table.target.name} ({lineage.model.table.task}); leave it empty"
        )
    return table


def loss_limit(parameters: argparse.Namespace, table: Table) -> float:
    """The least loss of quality that counts.

    Raises:
        StepError: a limit is given that the table's task does not know.
    """
    limits = {"max_accuracy_drop": MAX_ACCURACY_DROP, "max_error_rise": MAX_ERROR_RISE}
    right, wrong = reversed(limits) if table.task == REGRESSION else limits
    if getattr(parameters, wrong) is not None:
        raise StepError(f"{wrong} is not for {table.name}, whose task is {table.task}; give {right} instead")
    given = getattr(parameters, right)
    return limits[right] if given is None else float(given)


def select_columns(columns: str, table: Table, kinds: dict[str, str]) -> dict[str, str]:
    """The columns to compare: those asked for; else all, but of dates, which go on as time does, the missing ones."""
    names = [name.strip() for name in columns.split(",") if name.strip()]
    if unknown := [name for name in names if name not in kinds]:
        raise StepError(
            f"columns names {', '.join(unknown)}, which {table.name} does not have or which cannot be compared; "
            f"these can: {', '.join(kinds)}"
        )
    if names:
        return {name: kinds[name] for name in names}
    return {name: MISSING if table.by_name[name].type in DATE_FORMATS else kind for name, kind in kinds.items()}


@dataclass
class Comparison:
    """What is compared and found, gathered for the verdict and the report."""

    parameters: argparse.Namespace
    sharing: Sharing
    table: Table
    lineage: Lineage | None
    limit: float  # loss of accuracy, or relative rise of the mean absolute error, below which neither counts
    kinds: dict[str, str]
    reference: pd.DataFrame  # as drift.comparable has them
    current: pd.DataFrame
    groups: tuple[pd.Series, pd.Series]  # of their rows
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)  # become metrics
    notes: list[str] = field(default_factory=list)  # what was not done, and why
    shifts: list[lasting.Shift] = field(default_factory=list)  # to be added to those of other runs

    def compare_predictions(self, keys: pd.Series) -> pd.DataFrame:
        """Live predictions against those for the holdout, which the model had not seen at training either.

        Returns the live ones of `keys`, by the key's text.
        """
        table, parameters = self.table, self.parameters
        columns = [table.target.name, *probability_columns(table)]
        name = PROBABILITY if table.task == BINARY else table.target.name  # what is compared
        file = fetch(parameters.predictions, "predictions")
        read = functools.partial(read_predictions, max_rows=parameters.max_rows, sharing=self.sharing)
        live, self.figures["unscored_share"] = read(table, file, columns, keys)
        if parameters.reference_predictions:
            file = fetch(parameters.reference_predictions, "reference_predictions")
            reference, groups = read(table, file, [name])[0], None
        elif self.lineage:
            _, reference, groups = self.lineage.holdout
        else:
            self.notes.append("Drift of the predictions was not judged: no reference_predictions, no model.")
            return live
        kind = CATEGORY if table.task == MULTICLASS else NUMBER
        live_groups = self.groups_of(keys)
        self.add(drift.PREDICTION, "the predictions", kind, reference[name], live[name], (groups, live_groups))
        mean = {BINARY: "mean_probability", REGRESSION: "mean_prediction"}.get(table.task)
        for suffix, said in (("", live[name]), ("_reference", reference[name])) if len(live) else ():
            figures = {mean: float(said.mean())} if mean else shares(table, said, "predicted")
            self.figures |= {f"{figure}{suffix}": value for figure, value in figures.items()}
        return live

    def compare_outcomes(self, before: pd.DataFrame, known: pd.DataFrame, predicted: pd.DataFrame | None) -> None:
        """Those that are known by now against the reference's; live metrics beside those at training; concept drift."""
        table, target = self.table, self.table.target.name
        if target in before:
            kind = NUMBER if table.task == REGRESSION else CATEGORY
            self.add(drift.TARGET, "the target", kind, before[target], known[target], self.groups)
        if predicted is None:
            return
        keys = known[table.key.name]
        outcome = known.set_index(keys.astype(str))[target].infer_objects()
        outcome = outcome[outcome.index.isin(predicted.index)]
        predicted = predicted.loc[outcome.index]
        self.figures["live_rows"] = len(outcome)
        if len(outcome):
            live = score(table, outcome, predicted)
            self.figures |= {f"live_{name}": value for name, value in live.items()} | shares(table, outcome, "live")
        if self.lineage:
            self.figures |= {f"training_{name}": value for name, value in self.lineage.training_metrics.items()}
        try:
            self.findings.append(self.concept_drift(outcome, predicted, self.groups_of(keys)[outcome.index]))
        except StepError as reason:
            what = "errors were" if table.task == REGRESSION else "accuracy was"
            self.notes.append(f"The live {what} not judged: {reason}.")

    def importance(self) -> dict[str, float]:
        """What comparisons are worth to the model: the predictions, and whether they are right, as the best column."""
        known = self.lineage.importance if self.lineage else {}
        if self.lineage and not known:
            self.notes.append("All comparisons count alike: the training run has no importance.csv.")
        best = max(known.values(), default=0)
        worth = {drift.title(name): value for name, value in known.items()}
        return worth | dict.fromkeys((drift.PREDICTION, drift.ACCURACY, drift.ERROR), best)

    def groups_of(self, keys: pd.Series) -> pd.Series:
        """The groups of current rows, by their key's text."""
        return self.groups[1][keys.index].set_axis(keys.astype(str))

    def add(self, name: str, what: str, kind: str, before: pd.Series, after: pd.Series, groups: Groups) -> None:
        """The finding; a note where there is too little for one."""
        self.shifts += lasting.shifts(name, kind, before, after, self.parameters.min_effect, groups)
        if finding := drift.compare_values(name, kind, before, after, self.parameters.min_effect, groups):
            self.findings.append(finding)
        else:
            counts = f"{after.count()} against {before.count()}"
            self.notes.append(f"Drift of {what} was not judged: {counts} are too few.")

    def refuse_few(self, rows: int) -> None:
        """Raises StepError where an average of so many says nothing yet."""
        if rows < self.parameters.min_rows:
            least = self.parameters.min_rows
            raise StepError(f"{rows} {self.table.rows} with a known outcome are too few; min_rows={least}")

    def concept_drift(self, outcome: pd.Series, predicted: pd.DataFrame, groups: pd.Series) -> Finding:
        """Are predictions worse than those at training were, for rows that the model had not seen?

        Raises:
            StepError: that cannot be judged.
        """
        rows = len(outcome)
        if not rows:
            self.refuse_few(rows)
        if self.lineage is None:
            raise StepError("there is no model")
        metric = "mae" if self.table.task == REGRESSION else "accuracy"
        baseline = self.lineage.baseline(metric)
        if baseline is None:
            raise StepError(f"the training run has neither cv_{metric}_mean nor {metric}, with their numbers of rows")
        value, known, on_training_rows = baseline
        self.figures |= {f"baseline_{metric}": value, "baseline_rows": known}
        others = (self.groups[0] if on_training_rows else self.lineage.holdout[2]).to_numpy()
        truth, said = outcome.to_numpy(), predicted[outcome.name].to_numpy()
        if self.table.task == REGRESSION:
            held_out, told, _ = self.lineage.holdout  # whose errors tell how much they vary
            before = np.abs(held_out.to_numpy() - told[outcome.name].to_numpy())
            errors = np.abs(truth - said)
            effects = design_effects(errors, groups.to_numpy(), others)
            rates = float(errors.mean()) - value, rows / effects[1], value, known / effects[0], self.limit * value
            self.shifts.append(lasting.Shift(drift.ERROR, *rates, float(before.var()), one_sided=True))
            self.refuse_few(rows)
            return drift.compare_errors(before, errors, self.limit, (value, known), effects)
        effects = design_effects(truth == said, groups.to_numpy(), others)
        wrong = float((truth != said).mean())
        rates = wrong - (1 - value), rows / effects[1], 1 - value, known / effects[0], self.limit
        self.shifts.append(lasting.Shift(drift.ACCURACY, *rates, one_sided=True))
        self.refuse_few(rows)
        return drift.compare_accuracy(value, known, truth == said, self.limit, effects)


def shares(table: Table, values: pd.Series, prefix: str) -> dict[str, float]:
    """How often each class occurs, of two the positive one; nothing of numbers."""
    shown = [table.positive] if table.task == BINARY else table.classes
    return {f"{prefix}_{table.class_label(value)}_share": float((values == value).mean()) for value in shown}


def write_reports(found: Comparison, verdict: Verdict, folder: Path) -> None:
    """drift.html, drift.json and Evidently's page, whole, as the run's artifacts."""
    alpha = found.parameters.alpha
    content = drift_pages.as_dict(verdict, found.figures, found.notes, alpha)
    headline = drift_pages.headline(verdict)
    mlflow.set_tag("mlflow.note.content", headline)  # the run's description: a pipeline says it
    evidently = ""
    if found.parameters.report:
        from evidently_report import make_report

        kinds = {name: kind for name, kind in found.kinds.items() if kind in (NUMBER, CATEGORY)}  # what it can show
        by_name = {finding.name: (finding.adjusted_p_value, finding.drifted) for finding in verdict.findings}
        decisions = {name: by_name[drift.title(name)] for name in kinds if drift.title(name) in by_name}
        compared = (found.reference, found.current, kinds)
        evidently, content["evidently"] = make_report(folder, *compared, decisions, alpha)
    outputs = folder / "outputs"
    outputs.mkdir()
    (outputs / "drift.html").write_text(drift_pages.drift_page(content, headline))
    if evidently:
        (outputs / drift_pages.EVIDENTLY).write_text(evidently)
    (outputs / "drift.json").write_text(drift_pages.as_json(content))
    mlflow.log_artifacts(str(outputs))


def metrics(verdict: Verdict, figures: dict[str, float]) -> dict[str, float]:
    """drift_detected and drifted_share; each comparison's statistic and p-value; the figures."""
    values = {
        "drift_detected": int(verdict.drift_detected),
        "drifted_share": verdict.drifted_share,
        "too_few_rows": int(bool(verdict.too_few)),
        "rows_reference": verdict.rows_reference,
        "rows_current": verdict.rows_current,
    }
    for finding in verdict.findings:
        values[f"statistic_{finding.name}"] = finding.statistic
        values[f"p_value_{finding.name}"] = finding.p_value
        values[f"drift_{finding.name}"] = int(finding.drifted)
        if finding.name in (drift.ACCURACY, drift.ERROR):
            values["concept_drift"] = int(finding.drifted)
    return {metric_name(name): value for name, value in (values | figures).items()}


def shift_metrics(shifts: list[lasting.Shift]) -> dict[str, float]:
    """What later runs of the same model add up, by `metric_name`."""
    kept: dict[str, float] = {}
    for one in shifts:
        kept |= {metric_name(f"{SHIFT}{one.name}"): one.mean, metric_name(f"{ROWS}{one.name}"): one.rows}
    return kept


def earlier_runs(
    run: mlflow.ActiveRun, model_run_id: str, digest: str, most: int, shifts: list[lasting.Shift]
) -> list[lasting.Past]:
    """The newest `most` runs of this experiment that watched the same model, each on another list: what they kept."""
    if not most:
        return []
    asked = f"tags.`model.run_id` = '{model_run_id}' and tags.`{LIST}` != '{digest}'"
    found = mlflow.search_runs([run.info.experiment_id], asked, max_results=most, output_format="list")
    by_list = {one.data.tags[LIST]: one.data.metrics for one in reversed(found)}  # the newest of each
    names = {one.name: (metric_name(f"{SHIFT}{one.name}"), metric_name(f"{ROWS}{one.name}")) for one in shifts}
    return [
        {name: (kept[mean], kept[rows]) for name, (mean, rows) in names.items() if {mean, rows} <= kept.keys()}
        for kept in by_list.values()
    ]


def print_summary(verdict: Verdict, found: Comparison) -> None:
    """Print the result for people."""
    print(f"{STEP}: {verdict.rows_current} current {found.table.rows} against {verdict.rows_reference}")
    for note in found.notes:
        print(f"{STEP}: {note}")
    print(f"{STEP}: {drift_pages.headline(verdict)}")


def summary_line(verdict: Verdict, found: Comparison) -> dict[str, Any]:
    """The result for machines."""
    line = {
        "step": STEP,
        "drift_detected": verdict.drift_detected,
        "drifted": verdict.drifted,
        "drifted_share": drift_pages.rounded(verdict.drifted_share),
        "rows_current": verdict.rows_current,
        "too_few": verdict.too_few,
    }
    live = {name: drift_pages.rounded(value) for name, value in found.figures.items() if name.startswith("live_")}
    return line | live


def tell(wanted: list[alerts.Alert], line: dict[str, Any], template: str) -> None:
    """Send the alerts; what failed is a warning and a tag of the run, which goes on."""
    problems = alerts.send(wanted, line, template=template)
    if wanted:
        mlflow.set_tag("alert.sent", len(wanted) - len(problems))
    if problems:
        mlflow.set_tag("alert.failed", "; ".join(problems))
        print(f"{STEP}: warning: {'; '.join(problems)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
