"""Several pipeline runs under one parent: what `--multirun` started, and the table that compares them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.execution.runner import Outcome
from pipeline.reporting.console import columns, number
from pipeline.tracking.recorder import Tracking


@dataclass(frozen=True)
class Row:
    overrides: tuple[str, ...]
    run_id: str
    status: str
    metrics: Mapping[str, float]  # STEP.METRIC -> value


@dataclass
class Sweep:
    """The pipeline runs of one `--multirun`, each with the overrides that make it different."""

    parent: str = ""
    rows: list[Row] = field(default_factory=list)
    tracking: Tracking | None = None
    metric: str = ""
    overrides: tuple[str, ...] = ()  # of the pipeline run under way

    def next(self, overrides: tuple[str, ...]) -> None:
        """What makes the next pipeline run different."""
        self.overrides = tuple(map(as_written, overrides))

    def begin(self, tracking: Tracking, metric: str) -> dict[str, str]:
        """The tags for the next pipeline run; the first call makes the parent (or takes `mlflow run`'s)."""
        self.tracking, self.metric = tracking, metric
        if not self.parent:
            self.parent = os.environ.pop("MLFLOW_RUN_ID", "") or tracking.create_sweep()
        return {"mlflow.parentRunId": self.parent, "mlflow.runName": " ".join(self.overrides) or "pipeline"}

    def add(self, run_id: str, status: str, outcomes: Mapping[str, Outcome]) -> None:
        metrics = {f"{o.step}.{n}": v for o in outcomes.values() if o.result for n, v in o.result.metrics.items()}
        self.rows.append(Row(self.overrides, run_id, status, metrics))

    def close(self) -> str:
        """End the parent's run; the table, best value of the chosen metric first (with `-` before it, the least)."""
        if not self.rows:
            return ""
        ok = all(row.status == "FINISHED" for row in self.rows)
        self.tracking.client.set_terminated(self.parent, "FINISHED" if ok else "FAILED")
        name, sign = self.metric.removeprefix("-"), 1 if self.metric.startswith("-") else -1
        rows = sorted(self.rows, key=lambda row: sign * row.metrics[name] if name in row.metrics else float("inf"))
        step = f"{name.partition('.')[0]}."
        others = sorted({m for row in rows for m in row.metrics if m.startswith(step) and m != name})[:3]
        table = [("combination", "status", "run", name, *(m.removeprefix(step) for m in others))]
        common = set.intersection(*(set(row.overrides) for row in rows))
        for row in rows:
            different = " ".join(o for o in row.overrides if o not in common)
            cells = [number(row.metrics[m]) if m in row.metrics else "" for m in (name, *others)]
            table.append((different, row.status, row.run_id[:8], *cells))
        return f"\nsweep {self.parent}, by {self.metric}\n{columns(table)}"


def as_written(override: str) -> str:
    """A step's override as a person would write it."""
    return override.removeprefix("++pipeline.").replace(".parameters.", ".", 1)
