"""The verdict on a model, with all its figures. Nothing is changed here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import champion_registry as registry
import numpy as np
import pandas as pd
from comparison import compare, figure, largest_gaps, metrics_of, slices, word
from gate import Gate, is_better, reason_below_anchor, reason_to_stay, reason_too_few, reasons_against, reasons_worse
from grouped_rows import group_codes
from holdout import in_holdout_rows
from mlflow.entities.model_registry import ModelVersion
from predictions import METRICS
from saved_model import SavedModel
from step_error import StepError
from table import Table


@dataclass(frozen=True)
class Judged:
    """A registered model, and what it says of the holdout."""

    model: SavedModel
    version: ModelVersion
    predicted: pd.DataFrame
    own_holdout: pd.Series | None = None  # keys of the rows that it was judged on when it was trained; None: not known


@dataclass(frozen=True)
class Comparison:
    """The challenger beside another model, on rows that neither was trained on."""

    difference: dict[str, float] | None  # see `comparison.compare`; None: too few rows
    parts: dict[str, dict[str, float]]  # "old": rows of the other's own holdout; "new": those that came since
    reasons: list[str]  # why the challenger is worse
    doubts: list[str]  # why that cannot be told
    notes: list[str]


def refuse_other_table(champion: SavedModel, challenger: SavedModel, holdout: pd.DataFrame) -> None:
    """Raises StepError where the champion cannot be asked about the challenger's holdout."""
    ours, theirs = challenger.table, champion.table
    lacking = [
        name
        for name in champion.columns
        if name not in holdout.columns or theirs.by_name[name].numeric != ours.by_name[name].numeric
    ]
    if theirs.question != ours.question:
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
    meant = "" if table.positive is None else f"; probability of {table.class_text(table.positive)}"
    return f"{table.target.name} ({table.task}{classes}{meant})"


def make_verdict(
    gate: Gate,
    holdout: pd.DataFrame,
    challenger: Judged,
    champion: Judged | None,
    anchor: Judged | None,
    faulty: list[str],
    rollback_reason: str,
    times_judged: int,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """The verdict with all its figures, and the table of slices.

    `promoted`: nothing speaks against it; `rejected`: it does not reach what is asked for, or is worse than the
    champion or the anchor; `kept out`: neither, but whether it is as good cannot be told from so few rows, or it is no
    better and no simpler; `kept`: it is the champion. `anchor` is the best champion that ever was, None where none is
    known; the champion then stands in for it. `faulty`: what looks wrong with the table that the challenger learned
    from. `rollback_reason`: why the model was rolled back before, "" if it was not. `times_judged`: how many models the
    holdout has judged, this one included.
    """
    table, version = challenger.model.table, challenger.version
    truth = holdout[table.target.name].to_numpy()
    metrics, by_slice = metrics_of(table, truth, challenger.predicted), slices(table, holdout, challenger.predicted)
    same_model = champion is not None and champion.model.sha256 == challenger.model.sha256
    reasons = reasons_against(gate, table, truth, challenger.predicted, metrics, by_slice)
    passed, doubts = not reasons, list[str]()
    notes = notes_on_holdout(table, holdout, version)
    if gate.accept_change:
        notes += [let_pass(one) for one in faulty]
    elif faulty:
        reasons += [*faulty, "if the table is right, and the world has changed so, say so with accept_change=true"]
    beside, beside_anchor = None, None
    if champion and not same_model:
        beside = compare_unseen(gate, holdout, challenger, champion, "the champion")
        beside_anchor = compare_with_anchor(gate, holdout, challenger, champion, anchor, beside)
        for one in (beside, *([beside_anchor] if beside_anchor and beside_anchor is not beside else [])):
            reasons, doubts, notes = reasons + one.reasons, doubts + one.doubts, notes + one.notes
        if beside.difference and not beside.reasons:
            newer = int(version.version) > int(champion.version.version) or version.name != champion.version.name
            sizes = size_of(challenger.model), size_of(champion.model) * growth(version, champion.version)
            doubts += filter(None, [reason_to_stay(beside.difference, newer, *sizes)])
    if rollback_reason and not same_model:
        reasons.append(f"this model was champion and was rolled back ({rollback_reason})")
    if same_model and not registry.same_version(version, champion.version if champion else None):
        notes.append(f"version {version.version} is the same model as the champion, byte for byte")
    if same_model and reasons:
        notes.append("the champion itself would not pass this gate today")
    verdict: dict[str, Any] = {
        "verdict": "kept" if same_model else "rejected" if reasons else "kept out" if doubts else "promoted",
        "summary": "",
        "reasons": reasons + doubts,
        "notes": notes,
        "passed_by_itself": passed,
        "challenger": {"version": int(version.version), "metrics": metrics, "bytes": size_of(challenger.model)},
        "champion": None,
        "difference": beside.difference if beside else None,
        "parts": beside.parts if beside else {},
        "anchor": None,
        "holdout": {"rows": len(holdout), "times_judged": times_judged},
        "gate": asdict(gate),
        "largest_gaps": largest_gaps(by_slice, gate.min_slice_size),
        "slices": by_slice.to_dict("records"),
    }
    if table.classes:
        counts = {table.class_text(value): int((truth == value).sum()) for value in table.classes}
        verdict["holdout"]["classes"] = counts
    if champion:
        theirs = metrics_of(table, truth, champion.predicted)
        bytes_now = size_of(champion.model)
        verdict["champion"] = {"version": int(champion.version.version), "metrics": theirs, "bytes": bytes_now}
    if best := anchor or champion:
        found = beside_anchor.difference if beside_anchor else None
        # The best model of another world is no measure of this one's.
        other_world = gate.accept_change and beside is not None and "new" in beside.parts
        moves = verdict["verdict"] == "promoted" and (other_world or (found is not None and is_better(found)))
        after = version if moves else best.version
        verdict["anchor"] = {
            "version": int(best.version.version),
            "difference": found,
            "afterwards": int(after.version),
        }
    elif verdict["verdict"] == "promoted":
        verdict["anchor"] = {"version": None, "difference": None, "afterwards": int(version.version)}
    verdict["summary"] = summary(verdict, table)
    return verdict, by_slice


def let_pass(reason: str) -> str:
    return f"let pass by accept_change: {reason}"


def size_of(model: SavedModel) -> int:
    """Bytes of the model's own files."""
    return sum(file.stat().st_size for file in model.folder.rglob("*.skops"))


def growth(challenger: ModelVersion, champion: ModelVersion) -> float:
    """How many times the champion's rows the challenger was trained on, where that is more and both say it."""
    try:
        return max(1.0, float(challenger.tags["rows_train"]) / float(champion.tags["rows_train"]))
    except (KeyError, ValueError, ZeroDivisionError):
        return 1.0


def notes_on_holdout(table: Table, holdout: pd.DataFrame, version: ModelVersion) -> list[str]:
    """A note where rows of the holdout may be among those the model was trained on."""
    split = registry.split_of(version)
    seen = len(holdout) - int(in_holdout_rows(table, holdout, *split).sum()) if split else 0
    if not seen:
        return []
    return [f"{seen} of the {len(holdout)} {table.rows} are not of the model's own holdout: it may have seen them"]


def compare_unseen(gate: Gate, holdout: pd.DataFrame, challenger: Judged, other: Judged, name: str) -> Comparison:
    """Both models on the rows that neither was trained on: all of them, and the old and the new ones apart.

    New labels may be wrong, and many: what was learned from them is right about them. So a model must also hold on
    those rows that the other one was judged on when it was trained; unless a person says that the world has changed.
    """
    table, unseen, notes = challenger.model.table, np.ones(len(holdout), dtype=bool), []
    split, theirs = registry.split_of(other.version), other.model.table
    if split is None:
        notes.append(f"{name}'s split is not known (no tags), so it may have seen some of the {len(holdout)}")
    elif (split, theirs.group) != (registry.split_of(challenger.version), table.group):
        unseen = in_holdout_rows(theirs, holdout, *split)
        notes.append(
            f"{name} was trained with another split (test_size {split[0]:g}, split_seed {split[1]}, "
            f"by {theirs.group or theirs.key.name}): "
            f"{unseen.sum()} of {len(holdout)} {table.rows} are unseen by both, and the comparison is on these"
        )
    if too_few := reason_too_few(gate, table, int(unseen.sum()), name):
        return Comparison(None, {}, [], [too_few], notes)
    truth, groups = holdout[table.target.name].to_numpy(), group_codes(table, holdout).to_numpy()

    def beside(rows: np.ndarray) -> dict[str, float]:
        return compare(table, truth[rows], challenger.predicted[rows], other.predicted[rows], groups[rows])

    parts: dict[str, dict[str, float]] = {}
    doubts: list[str] = []
    difference = beside(unseen)
    reasons = reasons_worse(gate, table, difference, name)
    if other.own_holdout is None:
        notes.append(f"{name}'s own holdout is not there any more, so old and new {table.rows} are not told apart")
        return Comparison(difference, parts, reasons, doubts, notes)
    old = holdout[table.key.name].isin(set(other.own_holdout)).to_numpy()
    masks = {"old": unseen & old, "new": unseen & ~old}
    counts = {part: int(mask.sum()) for part, mask in masks.items()}
    if all(counts.values()):
        for part, mask in masks.items():
            if counts[part] >= gate.min_compared:
                parts[part] = beside(mask)
        against = {part: reasons_worse(gate, table, found, name, part) for part, found in parts.items()}
        if gate.accept_change and "new" in parts:
            notes += [let_pass(one) for one in (*reasons, *against.pop("old", []))]
            reasons = against["new"]
        else:
            reasons += [one for part in against.values() for one in part]
            if against.get("old"):
                reasons.append("if the world has changed, and the labels are right, say so with accept_change=true")
        if "old" not in parts and "new" in parts and not gate.accept_change:
            doubts.append(
                f"only {counts['old']} of the held-out {table.rows} are those that {name} was judged on, under "
                f"min_compared {gate.min_compared}: too few to judge beside {counts['new']} new ones, whose labels may "
                "be wrong"
            )
        elif "new" not in parts:
            notes.append(f"{counts['new']} of the {table.rows} are new, too few to be judged apart")
    elif counts["new"]:
        notes.append(f"none of the {table.rows} that {name} was judged on are in the holdout: all are new")
    return Comparison(difference, parts, reasons, doubts, notes)


def compare_with_anchor(
    gate: Gate, holdout: pd.DataFrame, challenger: Judged, champion: Judged, anchor: Judged | None, beside: Comparison
) -> Comparison | None:
    """The challenger beside the anchor; what is known already where that is the champion, None where it is itself."""
    if anchor is None or registry.same_version(anchor.version, champion.version):
        return beside
    if anchor.model.sha256 == challenger.model.sha256:
        return None
    name = f"the best champion so far (version {anchor.version.version})"
    found = compare_unseen(gate, holdout, challenger, anchor, name)
    other_world = gate.accept_change and "new" in found.parts
    if found.difference and not found.reasons and not other_world:
        found.doubts.extend(filter(None, [reason_below_anchor(found.difference)]))
    return found


def summary(verdict: Mapping[str, Any], table: Table) -> str:
    """The verdict in one sentence."""
    metrics, champion = verdict["challenger"]["metrics"], verdict["champion"]
    figures = ", ".join(f"{word(name)} {figure(name, metrics[name])}" for name in METRICS[table.task][:2])
    rows, times = verdict["holdout"]["rows"], verdict["holdout"]["times_judged"]
    judged = f", which have judged {times} models so far" if times > 1 else ""
    start = f"version {verdict['challenger']['version']} ({figures} on {rows} held-out {table.rows}{judged}) "
    reasons = "; ".join(verdict["reasons"])
    if verdict["verdict"] == "promoted":
        before = f", after version {champion['version']}" if champion else ""
        return f"{start}passed and is champion now{before}"
    if verdict["verdict"] == "passed":
        beside = f" beside version {champion['version']}" if champion else ""
        number = verdict["challenger"]["version"]
        return f"{start}passed{beside} and waits for a person: mlflow run evaluation -e promote -P version={number}"
    if verdict["verdict"] == "kept":
        is_same = champion["version"] == verdict["challenger"]["version"]
        end = "is champion already" if is_same else f"is the same model as the champion, version {champion['version']}"
        return f"{start}{end}" + (f"; today's gate would refuse it: {reasons}" if reasons else "")
    if champion:
        return f"{start}is {verdict['verdict']}, version {champion['version']} stays champion: {reasons}"
    return (
        f"{start}is rejected, and there is no champion to go on with: {reasons}; train a better model or lower the gate"
    )


def run_metrics(verdict: Mapping[str, Any]) -> dict[str, float]:
    """The figures for the run: the challenger's as they are, the champion's with a prefix."""
    metrics = dict(verdict["challenger"]["metrics"])
    if verdict["champion"]:
        metrics |= {f"champion_{name}": value for name, value in verdict["champion"]["metrics"].items()}
    anchor = verdict["anchor"] or {}
    differences = {"": verdict["difference"], "anchor_": anchor.get("difference")}
    differences |= {f"{part}_": found for part, found in verdict["parts"].items()}
    for prefix, found in differences.items():
        metrics |= {f"{prefix}difference_{name}": float(value) for name, value in (found or {}).items()}
    return metrics | {
        "rows_holdout": verdict["holdout"]["rows"],
        "holdout_times_judged": verdict["holdout"]["times_judged"],
        "promoted": float(verdict["verdict"] == "promoted"),
        "rejected": float(verdict["verdict"] == "rejected"),
        "reasons": len(verdict["reasons"]),
    }
