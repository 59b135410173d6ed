"""The verdict on a model, with all its figures. Nothing is changed here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import champion_registry as registry
import numpy as np
import pandas as pd
from comparison import compare, figure, largest_gaps, metrics_of, slices, word
from declaration import Table
from gate import Gate, reasons_against
from holdout import in_holdout
from mlflow.entities.model_registry import ModelVersion
from predictions import METRICS
from saved_model import SavedModel
from step_error import StepError


@dataclass(frozen=True)
class Judged:
    """A registered model, and what it says of the holdout."""

    model: SavedModel
    version: ModelVersion
    predicted: pd.DataFrame


def refuse_other_table(champion: SavedModel, challenger: SavedModel, holdout: pd.DataFrame) -> None:
    """Raises StepError where the champion cannot be asked about the challenger's holdout."""
    ours, theirs = challenger.table, champion.table
    asked = [(one.task, one.target.name, set(one.classes), one.positive) for one in (ours, theirs)]
    lacking = [
        name
        for name in champion.columns
        if name not in holdout.columns or theirs.by_name[name].numeric != ours.by_name[name].numeric
    ]
    if asked[0] != asked[1]:
        problem = f"predicts {described(theirs)}, and this model {described(ours)}"
    elif lacking:
        problem = f"reads {', '.join(lacking)}, not in the holdout or of another type there"
    else:
        return
    raise StepError(
        f"the champion, {champion}, {problem}, so they cannot be compared; give the declaration another name, under "
        "which champions begin anew, or take the alias champion away"
    )


def described(table: Table) -> str:
    classes = f": {', '.join(map(table.class_text, table.classes))}" if table.classes else ""
    return f"{table.target.name} ({table.task}{classes})"


def make_verdict(
    gate: Gate, holdout: pd.DataFrame, challenger: Judged, champion: Judged | None, rollback_reason: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The verdict with all its figures, and the table of slices.

    `rollback_reason`: why the model was rolled back before, "" if it was not.
    """
    table, version = challenger.model.table, challenger.version
    truth = holdout[table.target.name].to_numpy()
    metrics, by_slice = metrics_of(table, truth, challenger.predicted), slices(table, holdout, challenger.predicted)
    same_model = champion is not None and champion.model.sha256 == challenger.model.sha256
    difference, compared, notes = None, None, notes_on_holdout(table, holdout, version)
    if champion and not same_model:
        difference, compared, more = compare_unseen(gate, holdout, challenger, champion)
        notes += more
    reasons = reasons_against(gate, table, truth, metrics, by_slice, difference, compared)
    if rollback_reason and not same_model:
        reasons.append(f"this model was champion and was rolled back ({rollback_reason})")
    if same_model and not registry.same_version(version, champion.version if champion else None):
        notes.append(f"version {version.version} is the same model as the champion, byte for byte")
    if same_model and reasons:
        notes.append("the champion itself would not pass this gate today")
    verdict: dict[str, Any] = {
        "verdict": "kept" if same_model else "rejected" if reasons else "promoted",
        "summary": "",
        "reasons": reasons,
        "notes": notes,
        "challenger": {"version": int(version.version), "metrics": metrics},
        "champion": None,
        "difference": difference,
        "holdout": {"rows": len(holdout)},
        "gate": asdict(gate),
        "largest_gaps": largest_gaps(by_slice, gate.min_slice_size),
        "slices": by_slice.to_dict("records"),
    }
    if table.classes:
        counts = {table.class_text(value): int((truth == value).sum()) for value in table.classes}
        verdict["holdout"]["classes"] = counts
    if champion:
        theirs = metrics_of(table, truth, champion.predicted)
        verdict["champion"] = {"version": int(champion.version.version), "metrics": theirs}
    verdict["summary"] = summary(verdict, table)
    return verdict, by_slice


def notes_on_holdout(table: Table, holdout: pd.DataFrame, version: ModelVersion) -> list[str]:
    """A note where rows of the holdout may be among those the model was trained on."""
    split = registry.split_of(version)
    seen = len(holdout) - int(in_holdout(holdout[table.key.name], *split).sum()) if split else 0
    if not seen:
        return []
    return [f"{seen} of the {len(holdout)} {table.rows} are not of the model's own holdout: it may have seen them"]


def compare_unseen(
    gate: Gate, holdout: pd.DataFrame, challenger: Judged, champion: Judged
) -> tuple[dict[str, float] | None, int, list[str]]:
    """Both models on the rows that neither was trained on, how many these are, and what to say about it."""
    table, unseen, notes = challenger.model.table, np.ones(len(holdout), dtype=bool), []
    split = registry.split_of(champion.version)
    if split is None:
        notes.append(f"the champion's split is not known (no tags), so it may have seen some of the {len(holdout)}")
    elif split != registry.split_of(challenger.version):
        unseen = in_holdout(holdout[table.key.name], *split)
        notes.append(
            f"the champion was trained with another split (test_size {split[0]:g}, split_seed {split[1]}): "
            f"{unseen.sum()} of {len(holdout)} {table.rows} are unseen by both, and the comparison is on these"
        )
    rows = int(unseen.sum())
    if rows < gate.min_compared:
        return None, rows, notes
    truth = holdout[table.target.name].to_numpy()[unseen]
    return compare(table, truth, challenger.predicted[unseen], champion.predicted[unseen]), rows, notes


def summary(verdict: Mapping[str, Any], table: Table) -> str:
    """The verdict in one sentence."""
    metrics, champion = verdict["challenger"]["metrics"], verdict["champion"]
    figures = ", ".join(f"{word(name)} {figure(name, metrics[name])}" for name in METRICS[table.task][:2])
    start = (
        f"version {verdict['challenger']['version']} ({figures} on {verdict['holdout']['rows']} held-out {table.rows}) "
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


def run_metrics(verdict: Mapping[str, Any]) -> dict[str, float]:
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
