"""The manifest: what ran, on what, and what came out, for programs."""

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.execution.runner import Outcome
from pipeline.states import RunStatus


def manifest(
    outcomes: Mapping[str, Outcome],
    run_id: str,
    status: RunStatus,
    env_manager: str,
    started: float,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """What ran, on what, and what came out, for programs.

    `seconds` is wall time, `start` is in seconds after the pipeline run's, digests are SHA-256 in hex.
    """
    steps = {}
    for name, o in outcomes.items():
        steps[name] = {
            "state": o.state,
            "reason": o.reason,
            "run_id": o.run_id or None,
            "start": None if o.began is None else round(max(0.0, o.began - started), 3),
            "seconds": round(o.seconds, 3),
            "attempts": o.attempts,
            "inputs": {
                p: {"uri": i.uri, "sha256": i.sha256} for p, i in (o.decision.inputs if o.decision else {}).items()
            },
            "note": o.result.note if o.result else "",
            "outputs": dict(o.result.outputs) if o.result else {},
            # JSON has no word for infinity and NaN.
            "metrics": {
                n: v if math.isfinite(v) else repr(v) for n, v in (o.result.metrics if o.result else {}).items()
            },
        }
    return {
        "run_id": run_id,
        "status": status,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
        "env_manager": env_manager,
        **extra,
        "steps": steps,
    }


def read(path: Path) -> dict[str, Any] | None:
    """The manifest that a run before left; None where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found["steps"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def as_text(manifest: Mapping[str, Any]) -> str:
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
