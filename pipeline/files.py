"""Files: read YAML, digest content, replace a file at once."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

PROJECT = Path(__file__).resolve().parent.parent  # the folder with main.py
UNFINISHED = ".pipeline-"  # what a file's or folder's name begins with that is not whole yet
RESERVED = "pipeline"  # the artifact folder of a step's run that is ours, not the step's
JUST_MADE = 1.0  # seconds in which something may have been made and not been owned yet
# What MLflow writes anew into every MLmodel file, whatever the model.
VOLATILE_MLMODEL_KEYS = {
    "run_id",
    "model_id",
    "model_uuid",
    "utc_time_created",
    "artifact_path",
    "model_size_bytes",
    "prompts",
}


def read_yaml(text: str | bytes) -> Any:
    """`yaml.safe_load`, by the parser in C where it is there: ten times as fast."""
    import yaml  # takes longer than many an answer

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace a file at once: readers see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=UNFINISHED, delete=False, encoding="utf-8") as file:
        try:
            with owned(Path(file.name)):
                file.write(text)
                file.flush()
                Path(file.name).chmod(mode)
                Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise


def copy_from(file: Path, position: int, out: BinaryIO) -> int:
    """Write to `out` what a file, which may not be there yet, has from there on; where it ends now."""
    if not file.is_file():
        return position
    with file.open("rb") as source:
        source.seek(position)
        new = source.read()
    out.write(new)
    out.flush()
    return position + len(new)


@contextlib.contextmanager
def owned(path: Path) -> Iterator[None]:
    """Hold a file or folder: as long as this process, or a fork of it, lives, `clear_abandoned` lets it be."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def clear_abandoned(folder: Path, beginning: str) -> None:
    """Remove what is so named in a folder and owned by nobody: a process that was killed could not do it."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        for path in folder.glob(f"{beginning}*"):
            with contextlib.suppress(OSError):  # another's, or another was quicker
                if path.lstat().st_ctime > time.time() - JUST_MADE or path.is_symlink():
                    continue
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                finally:
                    os.close(descriptor)


def content_digest(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes, or of a folder's file names and their digests.

    An MLmodel file counts without the run, the time and the identifiers that MLflow stamps on it.
    """
    if path.is_dir():
        # MLflow adds registered_model_meta beside the MLmodel when somebody fetches a registered model.
        meta = path / "registered_model_meta" if (path / "MLmodel").is_file() else None
        files = sorted(p for p in files_below(path) if p != meta)
        listing = (f"{p.relative_to(path).as_posix()}\0{content_digest(p)}\n" for p in files)
        return hashlib.sha256(os.fsencode("".join(listing))).hexdigest()
    if path.name == "MLmodel":
        return mlmodel_digest(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path, skip: Collection[str] = ()) -> Iterator[Path]:
    """All files in a folder and those below it, through links to folders too (but not round in a circle).

    Folders named in `skip` are left out.
    """
    above = {folder.resolve()}
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name not in skip]
        yield from (path for name in names if (path := Path(parent, name)).is_file())
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in links:
            target = Path(parent, name).resolve()
            if target in above or target in Path(parent).resolve().parents:
                folders.remove(name)
            above.add(target)


def bytes_freed(path: Path) -> int:
    """What removing a folder frees: files that are linked elsewhere as well, as from uv's cache, count nothing."""
    found = (file.lstat() for file in files_below(path))
    return sum(one.st_size for one in found if one.st_nlink == 1)


def folders_below(folder: Path, skip: Collection[str] = ()) -> Iterator[Path]:
    """A folder and all those below it, empty ones too, through links; those named in `skip` are left out."""
    seen = set()
    for parent, folders, _ in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name not in skip]
        if (real := Path(parent).resolve()) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield Path(parent)


def names_digest(folder: Path) -> str:
    """SHA-256, in hex, of the names in a folder, byte-code aside."""
    names = sorted(os.fsencode(name) for name in os.listdir(folder) if name != "__pycache__")  # noqa: PTH208
    return hashlib.sha256(b"\0".join(names)).hexdigest()


def printable(name: str) -> str:
    """A file's name as any terminal takes it: bytes that are no UTF-8 are written out."""
    return name.encode("utf-8", "backslashreplace").decode()


def mlmodel_digest(path: Path) -> str:
    """SHA-256, in hex, of what an MLmodel file says of its model."""
    import yaml

    try:
        content = read_yaml(path.read_bytes())
        stable = {key: value for key, value in content.items() if key not in VOLATILE_MLMODEL_KEYS}
    except (yaml.YAMLError, AttributeError):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(stable, sort_keys=True, default=str).encode()).hexdigest()
