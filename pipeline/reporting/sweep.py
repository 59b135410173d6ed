"""Several pipeline runs under one parent: what `--multirun` started, and the table that compares them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.config import Request
from pipeline.execution.runner import Outcome
from pipeline.reporting.tables import as_written, columns, format_number, run_name
from pipeline.states import RunStatus
from pipeline.tracking.recorder import Recorder


@dataclass(frozen=True)
class Row:
    """One pipeline run of a sweep."""

    overrides: tuple[str, ...]
    run_id: str
    status: RunStatus
    metrics: Mapping[str, float]  # STEP.METRIC -> value


@dataclass
class Sweep:
    """The pipeline runs of one `--multirun`, each with the overrides that make it different."""

    parent: str = ""
    rows: list[Row] = field(default_factory=list)
    recorder: Recorder | None = None
    metric: str = ""
    overrides: tuple[str, ...] = ()  # of the pipeline run under way
    shown: tuple[str, ...] = ()  # the metrics that the summary shows of the step whose metric it is

    def begin(self, recorder: Recorder, request: Request) -> dict[str, str]:
        """The tags for the next pipeline run; the first call makes the parent (or takes `mlflow run`'s)."""
        self.recorder, self.metric, self.overrides = recorder, request.sweep_metric, request.overrides
        step = request.steps.get(self.metric.removeprefix("-").partition(".")[0])
        self.shown = tuple(f"{step.name}.{name}" for name in step.summary_metrics) if step else ()
        if not self.parent:
            self.parent = os.environ.pop("MLFLOW_RUN_ID", "") or recorder.create_sweep()
        return {"mlflow.parentRunId": self.parent, "mlflow.runName": run_name(self.overrides)}

    def add(self, run_id: str, status: RunStatus, outcomes: Mapping[str, Outcome]) -> None:
        """Take down what a pipeline run came to."""
        metrics = {f"{o.step}.{n}": v for o in outcomes.values() if o.result for n, v in o.result.metrics.items()}
        self.rows.append(Row(self.overrides, run_id, status, metrics))

    def close(self) -> str:
        """End the parent's run; the table, best value of the chosen metric first (with `-` before it, the least)."""
        if not self.rows or not self.recorder:
            return ""
        ok = all(row.status == RunStatus.FINISHED for row in self.rows)
        self.recorder.client.set_terminated(self.parent, RunStatus.FINISHED if ok else RunStatus.FAILED)
        name, sign = self.metric.removeprefix("-"), 1 if self.metric.startswith("-") else -1
        rows = sorted(self.rows, key=lambda row: sign * row.metrics[name] if name in row.metrics else float("inf"))
        step = f"{name.partition('.')[0]}."
        found = self.shown or sorted({m for row in rows for m in row.metrics if m.startswith(step)})
        others = [metric for metric in found if metric != name][:3]
        table = [("combination", "status", "run", name, *(m.removeprefix(step) for m in others))]
        common = set.intersection(*(set(row.overrides) for row in rows))
        for row in rows:
            different = " ".join(as_written(o) for o in row.overrides if o not in common)
            cells = [format_number(row.metrics[m]) if m in row.metrics else "" for m in (name, *others)]
            table.append((different, row.status, row.run_id[:8], *cells))
        return f"\nsweep {self.parent}, by {self.metric}\n{columns(table)}"
