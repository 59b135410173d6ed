"""Which versions of the data there are, told from what runs recorded. No MLflow here."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

COLUMNS = ["sha256", "when", "rows", "file", "models", "source", "uri"]
KEPT = 32  # characters of a SHA-256 that MLflow keeps of a dataset's digest
SHOWN = 12  # and that the table shows


@dataclass(frozen=True)
class Making:
    """A run that made a file."""

    sha256: str
    file: str
    uri: str
    when: str  # ISO 8601, UTC
    rows: int | None
    source: str = ""  # where it was downloaded from
    read: Mapping[str, str] = field(default_factory=dict)  # digest of each file it was made from -> that file's URI


@dataclass(frozen=True)
class TrainedModel:
    """A registered model's version, and the digest of what it was trained on."""

    name: str
    version: str
    sha256: str
    aliases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([self.name, self.version, *(f"@{alias}" for alias in self.aliases)])


def versions(makings: Iterable[Making], models: Iterable[TrainedModel]) -> list[dict[str, str]]:
    """One row of COLUMNS for each content, oldest first.

    Content that was made more than once is one version: first made at `when`, last at `uri`. Its `models` are those
    trained on it or on what was made of it; its `source` is where it, or all that it was made of, came from.
    """
    made: dict[str, list[Making]] = {}
    for making in sorted(makings, key=lambda making: making.when):
        made.setdefault(making.sha256[:KEPT], []).append(making)
    lineage = {digest: ancestors(digest, made) for digest in made}
    models = sorted(models, key=lambda model: (model.name, int(model.version)))
    rows = []
    for digest, same in made.items():
        trained = [model for model in models if digest in lineage.get(model.sha256[:KEPT], ())]
        rows.append(
            {
                "sha256": same[0].sha256,
                "when": same[0].when,
                "rows": "" if same[-1].rows is None else str(same[-1].rows),
                "file": ", ".join(dict.fromkeys(making.file for making in same)),
                "models": ", ".join(map(str, trained)),
                "source": " + ".join(origins(digest, made, lineage[digest])),
                "uri": same[-1].uri,
            }
        )
    return rows


def ancestors(digest: str, made: Mapping[str, list[Making]]) -> list[str]:
    """The content itself and all known content that it was made of, nearest first."""
    found, left = [], [digest]
    while left:
        digest = left.pop(0)
        if digest in made and digest not in found:
            found.append(digest)
            left += [read for making in made[digest] for read in making.read]
    return found


def origins(digest: str, made: Mapping[str, list[Making]], lineage: Iterable[str]) -> list[str]:
    """Where content came from: addresses that were downloaded, and files that no run made; each once."""
    makings = [making for ancestor in lineage for making in made[ancestor]]
    downloaded = [making.source for making in makings if making.source]
    given = [uri for making in makings for read, uri in making.read.items() if read not in made]
    return list(dict.fromkeys(downloaded + given))


def table(rows: list[dict[str, str]]) -> str:
    """The rows as lines of text, digests shortened."""
    head = dict(zip(COLUMNS, COLUMNS, strict=True))
    shown = [head] + [row | {"sha256": row["sha256"][:SHOWN], "models": row["models"] or "-"} for row in rows]
    widths = {name: max(len(row[name]) for row in shown) for name in COLUMNS}
    return "\n".join("  ".join(row[name].ljust(widths[name]) for name in COLUMNS).rstrip() for row in shown)
