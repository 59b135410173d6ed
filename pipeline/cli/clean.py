"""`python main.py clean --keep 90d`: runs, artifacts and environments that nothing refers to are removed."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.cli.opened_store import opened_store
from pipeline.config import Request
from pipeline.errors import RequestError
from pipeline.files import PROJECT, bytes_freed
from pipeline.reporting.tables import columns

if TYPE_CHECKING:
    from pipeline.tracking.retention import Survey

FORM = "clean --keep 90d [dry_run=true]"
HOURS = {"d": 24, "h": 1}


def clean(request: Request, root: Path, operands: list[str]) -> str:
    """Remove what is older than `--keep` and nothing refers to; with dry_run=true say what, and why the rest stays.

    Raises:
        RequestError: the age is none, or a pipeline is running.
    """
    age, dry_run = parse(operands)
    since = time.time() - age
    from pipeline.execution import disposal
    from pipeline.tracking import retention
    from pipeline.tracking.artifacts import Artifacts
    from pipeline.tracking.history import History
    from pipeline.tracking.recorder import Recorder

    with opened_store() as store:
        if not dry_run:
            Recorder(store, History(store, Artifacts(store)), root).mark_dead_runs_killed()
        found = retention.survey(store, int(since * 1000))
        if not dry_run:
            retention.refuse_while_running(found)
        folders = [root / (step.uri or name) for name, step in request.steps.items()]
        environments = disposal.environments([PROJECT, root, *folders], since)
        going = {path: bytes_freed(path) for path, why in environments.items() if not why}
        verb = "would be removed" if dry_run else "removed"
        parts = [of_runs(found, verb, dry_run), of_environments(environments, going, verb)]
        if dry_run:
            return "\n\n".join([*parts, "nothing was removed: dry_run=true"])
        retention.mark(store, found)
        if store.is_opened_here():
            disposal.purge(found)
        else:
            retention.mark_models(store, found)
            parts.append("they are marked deleted: `mlflow gc` beside the server purges them, with their artifacts")
        disposal.remove(going)
        return "\n\n".join(parts)


def parse(operands: list[str]) -> tuple[float, bool]:
    """The age in seconds, and whether nothing is to be done.

    Raises:
        RequestError: they are not of this form.
    """
    rest = [operand for operand in operands if operand not in ("dry_run=true", "dry_run=false")]
    text = " ".join(rest).replace("--keep=", "--keep ")
    match = re.fullmatch(r"--keep (\d+)([dh])", text)
    if not match:
        raise RequestError(f"{text!r} is not an age, such as --keep 90d or --keep 12h: python main.py {FORM}")
    return float(match[1]) * HOURS[match[2]] * 3600, "dry_run=true" in operands


def of_runs(found: "Survey", verb: str, with_reasons: bool) -> str:
    """The runs that go, by step, with their sizes; and how many stay for which reason."""
    sizes = found.sizes()
    rows = [("step", "runs", "from", "to", "frees")]
    for kind in sorted({run.kind for run in found.going}):
        runs = [run for run in found.going if run.kind == kind]
        days = [time.strftime("%Y-%m-%d", time.localtime(run.ended / 1000)) for run in runs]
        freed = format_bytes(sum(sizes.pop(run.run_id) for run in runs))
        rows.append((kind, str(len(runs)), min(days), max(days), freed))
    lines = [f"{verb}: {len(found.going)} runs of {len(found.runs)}"]
    lines += [columns(rows)] if found.going else []
    if left := sum(sizes.values()):
        lines.append(f"models whose run is gone: {format_bytes(left)}")
    if with_reasons:
        stays = Counter(found.why[run_id] for run_id in found.runs if run_id in found.why)
        lines.append(columns([("stays because", "runs"), *((why, str(n)) for why, n in stays.most_common())]))
    return "\n".join(lines)


def of_environments(environments: dict[Path, str], going: dict[Path, int], verb: str) -> str:
    """The environments that go, and how many stay for which reason."""
    lines = [f"{verb}: {len(going)} environments of {len(environments)}, {format_bytes(sum(going.values()))}"]
    lines += [f"  {path}  {format_bytes(freed)}" for path, freed in sorted(going.items())]
    stays = Counter(why for why in environments.values() if why)
    return "\n".join([*lines, *(f"  {n} stay: {why}" for why, n in stays.most_common())])


def format_bytes(count: int) -> str:
    """Bytes as people write them."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"
