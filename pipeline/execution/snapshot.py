"""The code of a step as it ran: its files in one archive, which is named by what is in it."""

import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"code-([0-9a-f]{64})\.tar\.gz")


@dataclass(frozen=True)
class Snapshot:
    """An archive: its name, which holds the SHA-256 of the tar in it, and its bytes."""

    name: str
    content: bytes


def pack(folder: Path, names: Iterable[str]) -> Snapshot:
    """These files of a folder; the same ones make the same name, whenever and by whomever they were written."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(names):
            content, entry = (folder / name).read_bytes(), tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if (folder / name).stat().st_mode & 0o100 else 0o644
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha256(tar.getvalue()).hexdigest()
    return Snapshot(f"code-{digest}.tar.gz", gzip.compress(tar.getvalue(), mtime=0))


def unpack(archive: Path, target: Path) -> None:
    """Put the files of an archive into the folder `target`, which may not be there yet.

    Raises:
        ValueError: it is not what its name says, or holds more than files below the folder; the text is a sentence.
    """
    named = NAME.fullmatch(archive.name)
    try:
        content = gzip.decompress(archive.read_bytes())
    except (OSError, EOFError):
        content = b""
    if not named or hashlib.sha256(content).hexdigest() != named[1]:
        raise ValueError(f"{archive.name} is not the archive that it is named after; take it from the run again")
    target = target.resolve()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for entry in tar:
            place = (target / entry.name).resolve()
            file = tar.extractfile(entry) if entry.isreg() else None
            if not file or target not in place.parents:
                raise ValueError(f"{archive.name} holds {entry.name!r}, which is no file below the step's folder")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read())
            place.chmod(entry.mode)
