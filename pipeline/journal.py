"""The answer "nothing changed" in a tenth of a second: without Hydra, without MLflow, without opening the store.

After a run whose every step would be reused now, `write` keeps what deciding that looked at, and how it looked: what
was typed, variables of the environment, files (size, times, inode), folders, the store's own change counter. Next time
`answer` looks at the same. If every line still holds, the answer is the old one, and nothing is recorded, for nothing
ran. One doubt, and it returns None: the long way, as ever.

    .pipeline/journal/KEY.json      one for each command line, working folder and interpreter

`journal: false` in config.yaml does without. Standard library only: this runs before anything else is imported.
"""

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.files import names_digest, write_atomically

FORMAT = 2
ENVIRONMENT = dict(os.environ)  # as this process was started with: it sets variables of its own later
FOLDER = Path(".pipeline", "journal")
# A file changed within so many seconds of the journal may change again and look the same: it is hashed, as Git does
# with what it calls racily clean.
RACY = 2.0
NOT_FOR_HERE = ("-", "+hydra", "hydra.", "++hydra")  # arguments that ask Hydra for something else
VARIABLES = ("MLFLOW_", "PYTHONPATH", "PYTHONHOME")  # prefixes of those that every answer depends on


def answer(root: Path, arguments: list[str]) -> int | None:
    """Give the old answer if nothing has changed, and return the exit code; None where it is not known to hold."""
    started = time.time()
    try:
        file = journal_file(root, arguments)
        if file is None or not file.is_file():
            return None
        journal = json.loads(file.read_text(encoding="utf-8"))
        if not holds(journal):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if "dry_run=true" in arguments:
        say(journal["plan"])
        return 0
    manifest = journal["manifest"] | {"started": utc(started), "seconds": round(time.time() - started, 3)}
    try:
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        write_atomically(Path(journal["manifest_file"]), text)
    except OSError:
        return None
    clock = time.strftime("%H:%M:%S")
    lines = [] if sys.stdout and sys.stdout.isatty() else [f"{clock}  {line}" for line in journal["lines"]]
    counts = f"nothing changed since pipeline run {journal['manifest']['run_id']}: {journal['counts']}"
    say(
        "\n".join(
            [
                *lines,
                f"\n{journal['summary']}\n",
                counts,
                journal["files_line"],
                "view:  make ui",
                *journal["conclusion"],
            ]
        )
    )
    return 0


def say(text: str) -> None:
    """Print; where nobody reads any more (`main.py | head`), that is no failure."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(
    root: Path,
    arguments: list[str],
    looked_at: Iterable[Path],
    variables: Iterable[str],
    database: Path,
    state: str,
    said: Mapping[str, Any],
) -> None:
    """Keep what the answer `said` depends on: paths (of a folder, its entries' names), variables, the store's file.

    `state` is the store's (`database_state`) from before the answer was worked out.
    """
    file = journal_file(root, arguments)
    if file is None:
        return
    now, salt = time.time(), os.urandom(16).hex()
    names = sorted({name for name in ENVIRONMENT if name.startswith(VARIABLES)} | set(variables))
    journal = {
        "format": FORMAT,
        "written": now,
        "salt": salt,
        "variables": {name: variable(name, salt) for name in names},
        "others": variable_names(),
        "files": {path: look(path, now) for path in sorted({str(path) for path in looked_at})},
        "database": [str(database), state],
        **said,
    }
    with contextlib.suppress(OSError):  # a read-only checkout does without
        write_atomically(file, json.dumps(journal), mode=0o600)
        keep_newest(file.parent)


def journal_file(root: Path, arguments: list[str]) -> Path | None:
    """Where the journal of this command line is; None where there is none by design."""
    if "MLFLOW_RUN_ID" in ENVIRONMENT or any(argument.startswith(NOT_FOR_HERE) for argument in arguments):
        return None  # `mlflow run` has made a run already, which has to be ended
    asked = [argument for argument in arguments if argument != "dry_run=true"]
    told = [FORMAT, asked, str(Path.cwd()), sys.executable, sys.version, sys.prefix]
    return root / FOLDER / f"{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]}.json"


def holds(journal: Mapping[str, Any]) -> bool:
    """Whether everything looks as it did."""
    if journal["format"] != FORMAT or variable_names() != journal["others"]:
        return False
    if any(variable(name, journal["salt"]) != value for name, value in journal["variables"].items()):
        return False
    path, state = journal["database"]
    if not Path(path).is_file() or database_state(Path(path)) != state:
        return False
    return all(looks_as(path, seen) for path, seen in journal["files"].items())


def variable_names() -> list[str]:
    """The names of the variables that every answer depends on, as far as they are set."""
    return sorted(name for name in ENVIRONMENT if name.startswith(VARIABLES))


def variable(name: str, salt: str) -> str:
    """A variable's value as a keyed digest: it may be a secret, and a short one."""
    value = os.fsencode(ENVIRONMENT.get(name, "\0unset"))
    return hashlib.blake2b(value, key=bytes.fromhex(salt)).hexdigest()


def look(path: str, now: float) -> list[Any]:
    """How a path looks: [size, mtime, ctime, inode, digest]; the digest where its times are too near to be trusted.

    A folder looks like the names in it; what is not there is [].
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - the quickest there is
    except OSError:
        return []
    if stat.S_ISDIR(found.st_mode):
        return [names_digest(Path(path))]
    if not stat.S_ISREG(found.st_mode):
        return ["neither a file nor a folder"]
    racy = max(found.st_mtime, found.st_ctime) > now - RACY
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, file_digest(Path(path)) if racy else ""]


def looks_as(path: str, seen: list[Any]) -> bool:
    """Whether a path looks as it did."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return seen == []
    if seen == ["neither a file nor a folder"]:
        return not stat.S_ISREG(found.st_mode) and not stat.S_ISDIR(found.st_mode)
    if len(seen) == 1:
        return stat.S_ISDIR(found.st_mode) and names_digest(Path(path)) == seen[0]
    if [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino] != seen[:4]:
        return False
    return not seen[4] or file_digest(Path(path)) == seen[4]


def file_digest(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def database_state(path: Path) -> str:
    """What SQLite changes with each transaction: the counter in the file's header, and its write-ahead log's header.

    See "The Database Header" and "WAL File Format" of the SQLite documentation.
    """
    state = []
    for file, header in ((path, 100), (Path(f"{path}-wal"), 32), (Path(f"{path}-journal"), 28)):
        try:
            with file.open("rb") as stream:
                state.append(f"{file.stat().st_size} {stream.read(header).hex()}")
        except OSError:
            state.append("")
    return "; ".join(state)


def keep_newest(folder: Path, most: int = 50) -> None:
    """Each other command line leaves a file: the oldest ones go."""
    files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in files[most:]:
        with contextlib.suppress(OSError):
            path.unlink()


def utc(seconds: float) -> str:
    """A time as ISO 8601, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
