"""The versions of the data, derived from what the runs recorded. No MLflow here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

COLUMNS = ["sha256", "when", "rows", "file", "models", "source", "uri"]
DIGEST_LENGTH = 32  # characters of a SHA-256 that MLflow keeps of a dataset's digest
SHOWN_DIGEST_LENGTH = 12  # and that the table shows


@dataclass(frozen=True)
class ProducingRun:
    """A finished run that produced a version of the data."""

    sha256: str
    file: str
    uri: str
    when: str  # ISO 8601, UTC
    rows: int | None
    source: str = ""  # where it was downloaded from
    inputs: Mapping[str, str] = field(default_factory=dict)  # digest of each file it was made from -> that file's URI


@dataclass(frozen=True)
class TrainedModel:
    """A registered model's version, and the digest of what it was trained on."""

    name: str
    version: str
    sha256: str
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.name, self.version, *(f"@{alias}" for alias in self.aliases)])


def versions(producing_runs: Iterable[ProducingRun], models: Iterable[TrainedModel]) -> list[dict[str, str]]:
    """One row of COLUMNS for each content, oldest first.

    Content that was made more than once is one version: first made at `when`, last at `uri`. Its `models` are those
    trained on it or on what was made of it; its `source` is where it, or all that it was made of, came from.
    """
    runs_by_digest: dict[str, list[ProducingRun]] = {}
    for run in sorted(producing_runs, key=lambda run: run.when):
        runs_by_digest.setdefault(run.sha256[:DIGEST_LENGTH], []).append(run)
    lineage = {digest: ancestors(digest, runs_by_digest) for digest in runs_by_digest}
    models = sorted(models, key=lambda model: (model.name, int(model.version)))
    rows = []
    for digest, runs in runs_by_digest.items():
        trained = [model for model in models if digest in lineage.get(model.sha256[:DIGEST_LENGTH], ())]
        rows.append(
            {
                "sha256": runs[0].sha256,
                "when": runs[0].when,
                "rows": "" if runs[-1].rows is None else str(runs[-1].rows),
                "file": ", ".join(dict.fromkeys(run.file for run in runs)),
                "models": ", ".join(map(str, trained)),
                "source": " + ".join(origins(runs_by_digest, lineage[digest])),
                "uri": runs[-1].uri,
            }
        )
    return rows


def ancestors(digest: str, runs_by_digest: Mapping[str, list[ProducingRun]]) -> list[str]:
    """The content itself and all known content that it was made of, nearest first."""
    found: list[str] = []
    queue = [digest]
    while queue:
        digest = queue.pop(0)
        if digest in runs_by_digest and digest not in found:
            found.append(digest)
            queue += [parent for run in runs_by_digest[digest] for parent in run.inputs]
    return found


def origins(runs_by_digest: Mapping[str, list[ProducingRun]], lineage: Iterable[str]) -> list[str]:
    """Where content came from: addresses that were downloaded, and files that no run made; each once."""
    runs = [run for ancestor in lineage for run in runs_by_digest[ancestor]]
    downloaded = [run.source for run in runs if run.source]
    external = [uri for run in runs for digest, uri in run.inputs.items() if digest not in runs_by_digest]
    return list(dict.fromkeys(downloaded + external))


def format_table(rows: list[dict[str, str]]) -> str:
    """The rows as lines of text, digests shortened."""
    head = dict(zip(COLUMNS, COLUMNS, strict=True))
    shown = [head] + [
        row | {"sha256": row["sha256"][:SHOWN_DIGEST_LENGTH], "models": row["models"] or "-"} for row in rows
    ]
    widths = {name: max(len(row[name]) for row in shown) for name in COLUMNS}
    return "\n".join("  ".join(row[name].ljust(widths[name]) for name in COLUMNS).rstrip() for row in shown)
