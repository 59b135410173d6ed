"""What a step really read beside its code and its inputs, and whether that is as it was.

`execution/read_tracer.py` writes down the paths while the step runs; here they become digests, which are kept with the
run. A result is reused only while all of them are the same.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import content_digest, files_below, folders_below, names_digest, printable

GONE = "gone"  # the digest of what is not there
# Size, time of the last change to the content and to the entry (ns), inode: one of them moves when a file does.
Look = tuple[int, int, int, int]


def look(path: str | Path) -> Look | None:
    """How a file or folder looks from outside; None where it is not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - the quickest there is
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def looks(paths: Iterable[Path]) -> dict[Path, Look | None]:
    """How these files look now; of a folder, all files in it, and the folders that they are in."""
    found: dict[Path, Look | None] = {}
    for path in paths:
        found[path] = look(path)
        if path.is_dir():
            found |= {place: look(place) for place in (*folders_below(path), *files_below(path))}
    return found


def moved(before: Mapping[Path, Look | None]) -> list[Path]:
    """Those of the files that do not look as they did, be it that their content is the same again."""
    return [path for path, looked in before.items() if look(path) != looked]


@dataclass(frozen=True)
class Reads:
    """Digests by name: a path relative to the project where it is near, with a `/` at the end for a listing."""

    digests: Mapping[str, str]
    moved: tuple[str, ...] = ()  # the names of those that changed while the step ran


def collect(log: Path, root: Path, folder: Path, known: Iterable[Path]) -> Reads:
    """What the tracer wrote into `log`, without what is below `known`: inputs, and code that is digested already.

    `folder` is the step's own.
    """
    covered = {str(path) for path in known}
    digests: dict[str, str] = {}
    moved: list[str] = []
    lines = log.read_text(encoding="utf-8", errors="surrogateescape").splitlines() if log.is_file() else []
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:  # a line that was cut off with its process
            continue
        path = Path(found["path"])
        if not {str(path), *map(str, path.parents)}.isdisjoint(covered) or ".git" in path.parts:
            continue
        if found["listing"] and path == folder:  # MLflow does that; which files are in it is part of the code
            continue
        name = name_of(path, root) + ("/" if found["listing"] else "")
        if name not in digests:
            before, now = tuple(found.get("look", ())) or None, look(path)
            if now is None and before and before[2] >= found["started"]:
                continue  # it came and went with the step
            digests[name] = digest_of(name, root)
            if digests[name] != found["names"] if "names" in found else now != before:
                moved.append(printable(name))
    return Reads(digests, tuple(moved))


def changed(reads: Mapping[str, str], root: Path) -> list[str]:
    """The names of those that are not as they were."""
    return [name for name, digest in reads.items() if digest_of(name, root) != digest]


def name_of(path: Path, root: Path) -> str:
    """A path as people name it: from the project's folder, where it is in it or beside it."""
    return os.path.relpath(path, root) if path.is_relative_to(root.parent) else str(path)


def digest_of(name: str, root: Path) -> str:
    """SHA-256, in hex, of the file's content or, for a name with a `/` at its end, of the names in the folder."""
    path = root / name
    try:
        if name.endswith("/") or path.is_dir():
            return names_digest(path)
        return content_digest(path) if path.is_file() else GONE
    except (OSError, ValueError):
        return GONE
