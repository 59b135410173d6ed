"""Evidently's own report with this step's decisions; a process of its own: `python evidently_report.py FOLDER`.

It reads reference.parquet, current.parquet and request.json in FOLDER, and writes evidently.html and evidently.json.
A process of its own, because Evidently's order of categories follows Python's hash seed, which is fixed at the start.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from drift import CATEGORY, NUMBER
from step_error import StepError

IDENTIFIERS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<=metric_)[0-9a-f]{32}")


def make_report(
    folder: Path,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    kinds: dict[str, str],
    decisions: dict[str, tuple[float, bool]],
    alpha: float,
) -> tuple[str, list[dict[str, Any]]]:
    """Evidently's HTML and its metrics; `decisions`: each column's adjusted p-value, and whether it has drifted.

    Raises:
        StepError: Evidently could not; with its last words.
    """
    for name, frame in (("reference", reference), ("current", current)):
        prepare(frame, kinds).to_parquet(folder / f"{name}.parquet")
    request = {
        "kinds": {escape_markup(name): kind for name, kind in kinds.items()},
        "decided": {escape_markup(name): decision for name, decision in decisions.items()},
        "alpha": alpha,
    }
    (folder / "request.json").write_text(json.dumps(request))
    environment = os.environ | {"PYTHONHASHSEED": "0", "DO_NOT_TRACK": "1"}
    done = subprocess.run([sys.executable, __file__, str(folder)], env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StepError(f"Evidently could not make its report ({reason}); report=false goes without")
    return (folder / "evidently.html").read_text(), json.loads((folder / "evidently.json").read_text())


def prepare(frame: pd.DataFrame, kinds: dict[str, str]) -> pd.DataFrame:
    """The columns as Evidently gets them.

    A missing category is a category, as in our test; and the place of None in a set changes from process to process.
    """
    columns = {}
    for name, kind in kinds.items():
        values = frame[name].fillna("missing").map(escape_markup) if kind == CATEGORY else frame[name]
        columns[escape_markup(name)] = values
    return pd.DataFrame(columns)


def escape_markup(value: str) -> str:
    """Text that cannot end Evidently's script in the page, into which it is written as it is."""
    return value.replace("<", "(").replace(">", ")")


def main() -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    folder = Path(sys.argv[1])
    request = json.loads((folder / "request.json").read_text())
    kinds = request["kinds"]
    register(request["decided"])
    definition = DataDefinition(
        numerical_columns=[name for name, kind in kinds.items() if kind == NUMBER],
        categorical_columns=[name for name, kind in kinds.items() if kind == CATEGORY],
    )
    datasets = [
        Dataset.from_pandas(pd.read_parquet(folder / f"{name}.parquet"), data_definition=definition)
        for name in ("current", "reference")
    ]
    drift = DataDriftPreset(columns=list(request["decided"]), method="holm", threshold=request["alpha"])
    snapshot = Report([drift, DataSummaryPreset(columns=list(kinds))], include_tests=False).run(*datasets)
    (folder / "evidently.html").write_text(with_stable_ids(snapshot.get_html_str(as_iframe=False)))
    (folder / "evidently.json").write_text(json.dumps(snapshot.dict()["metrics"], default=str))


def register(decisions: dict[str, tuple[float, bool]]) -> None:
    """Make our decision the test that Evidently's method "holm" asks."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    kinds = [ColumnType.Numerical, ColumnType.Categorical]
    test = StatTest(name="holm", display_name="Holm-adjusted p-value", allowed_feature_types=kinds)
    register_stattest(test, default_impl=lambda before, after, kind, threshold: tuple(decisions[after.name]))


def with_stable_ids(page: str) -> str:
    """The page with its random identifiers numbered in order of appearance."""
    names: dict[str, str] = {}
    return IDENTIFIERS.sub(lambda match: names.setdefault(match[0], f"id{len(names) + 1}"), page)


if __name__ == "__main__":
    main()
