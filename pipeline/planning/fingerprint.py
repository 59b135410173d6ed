"""What a step's result depends on, as digests: its files, entry point, parameters, inputs and environment."""

import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import OWN_BACKENDS
from pipeline.files import content_digest, files_below, printable
from pipeline.planning.reads import Look, look

PARTS = ("code", "parameters", "inputs", "environment")
PART_LIMIT = 7500  # characters of JSON: MLflow keeps 8000 of a tag
# Never part of what a step does, wherever they lie.
IGNORED = {
    "__pycache__",
    ".git",
    ".ipynb_checkpoints",
    ".pytest_cache",
    ".ruff_cache",
    ".mypy_cache",
    ".venv",
    "mlruns",
}
IGNORED_FILES = (".pyc", ".db", ".db-wal", ".db-shm", ".db-journal", ".db.lock", ".DS_Store")


@dataclass(frozen=True)
class Fingerprint:
    """All that decides a step's output. Two equal ones mean the same bytes out."""

    code: Mapping[str, str] = field(default_factory=dict)  # file, relative to the step's folder -> SHA-256
    entry_point: str = "main"
    parameters: Mapping[str, str] = field(default_factory=dict)  # as given; inputs by their content's digest
    inputs: Mapping[str, str] = field(default_factory=dict)  # parameter -> digest of the content it points at
    environment: Mapping[str, str] = field(default_factory=dict)  # package -> version, or what manages it

    def __post_init__(self) -> None:
        for part in PARTS:
            object.__setattr__(self, part, compact(getattr(self, part)))

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def differences(self, before: "Fingerprint", names: Mapping[str, str]) -> list[str]:
        """What is not as it was, in words; `names` gives a name a person knows to each input."""
        found = [f"{change} {printable(file)}" for file, change in changes(before.code, self.code)]
        lines = [f"its code changed: {', '.join(found[:3])}{' …' if len(found) > 3 else ''}"] if found else []
        if self.entry_point != before.entry_point:
            lines.append(f"entry point {before.entry_point} → {self.entry_point}")
        for name, _ in changes(before.parameters, self.parameters):
            lines.append(
                f"parameter {name} {display(before.parameters.get(name))} → {display(self.parameters.get(name))}"
            )
        lines += [f"input {names.get(name, name)} changed" for name, _ in changes(before.inputs, self.inputs)]
        return lines + environment_changes(before.environment, self.environment)


def environment_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is different in the environment, in one phrase: another manager says it all."""
    keys = (
        ["env_manager"] if before.get("env_manager") != now.get("env_manager") else [k for k, _ in changes(before, now)]
    )
    found = [f"{key} {before.get(key, 'none')} → {now.get(key, 'none')}" for key in keys]
    return [f"its environment changed: {', '.join(found[:3])}{' …' if len(found) > 3 else ''}"] if found else []


def compact(part: Mapping[str, str]) -> Mapping[str, str]:
    """A part as it can be kept with a run: one digest where it has too many entries to tell them apart."""
    written = json.dumps(dict(part), sort_keys=True)
    return part if len(written) <= PART_LIMIT else {"…": hashlib.sha256(written.encode()).hexdigest()}


def display(value: str | None) -> str:
    return "default" if value is None else repr(value) if value == "" or " " in value else value


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[tuple[str, str]]:
    """The keys that differ, each with what happened to it."""
    verbs = {(True, True): "changed", (False, True): "new", (True, False): "removed"}
    return [(k, verbs[k in before, k in now]) for k in sorted({*before, *now}) if before.get(k) != now.get(k)]


def folder_files(folder: Path) -> dict[str, str]:
    """Digest of each file that can decide what a step does; byte-code, stores and caches cannot.

    What Git ignores is left out too where the folder is in a Git work tree.
    """
    return folders_files([folder])[folder]


def folders_files(folders: Iterable[Path]) -> dict[Path, dict[str, str]]:
    """`folder_files` of each folder; Git is asked once for all folders of a work tree."""
    found = {
        folder: {
            path.relative_to(folder).as_posix(): content_digest(path)
            for path in sorted(files_below(folder, skip=IGNORED))
            if not path.name.endswith(IGNORED_FILES)
        }
        for folder in folders
    }
    trees: dict[Path, list[Path]] = {}
    for folder in found:
        if tree := work_tree(folder):
            trees.setdefault(tree, []).append(folder)
    for tree, members in trees.items():
        for folder, name in ignored_by_git(tree, {folder: found[folder] for folder in members}):
            del found[folder][name]
    return found


def work_tree(folder: Path) -> Path | None:
    """The Git work tree that a folder is in, else None; the folder itself where only Git knows that."""
    if "GIT_DIR" in os.environ:
        return folder
    real = folder.resolve()
    return next((place for place in (real, *real.parents) if (place / ".git").exists()), None)


def ignored_by_git(tree: Path, files: Mapping[Path, Iterable[str]]) -> list[tuple[Path, str]]:
    """Those of the files, by the names in their folders, that Git ignores in this work tree."""
    places = {folder: os.path.relpath(folder.resolve(), tree.resolve()) for folder in files}
    asked: dict[bytes, list[tuple[Path, str]]] = {}  # two folders may be one, by a link
    for folder, names in files.items():
        for name in names:
            if not behind_link(folder, name):  # Git refuses to look there: it is not its own, and counts
                path = os.path.normpath(f"{places[folder]}/{name}")
                asked.setdefault(os.fsencode(path), []).append((folder, name))
    command = ["git", "check-ignore", "--stdin", "-z"]
    try:
        done = subprocess.run(command, input=b"\0".join(asked), cwd=tree, capture_output=True, check=False)
    except FileNotFoundError:  # no Git here: nothing is ignored
        return []
    if done.returncode > 1 and len(files) > 1:  # it cannot say it of one of them
        return [one for folder, names in files.items() for one in ignored_by_git(folder, {folder: names})]
    return [one for path in done.stdout.split(b"\0") for one in asked.get(path, ())]


def behind_link(folder: Path, name: str) -> bool:
    """Whether a link to a folder lies on the way to a file."""
    return any((folder / parent).is_symlink() for parent in Path(name).parents if parent.name)


def environment_of(
    env_manager: str, backend: str, backend_config: Mapping[str, Any], toolchain: Iterable[str] = ()
) -> dict[str, str]:
    """What a step runs in, beside its own files (where a managed environment's file is one of these)."""
    found = {"env_manager": env_manager, "platform": f"{sys.platform}-{platform.machine()}"}
    if places := [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]:
        found["PYTHONPATH"] = os.pathsep.join(places)
    if backend not in OWN_BACKENDS:  # which may bring an environment of its own
        found |= {"backend": backend, "backend_config": json.dumps(backend_config, sort_keys=True, default=str)}
    elif env_manager == "local":
        found |= {"python": platform.python_version(), "installed files": installed_files()} | installed_distributions()
    return found | {f"toolchain.{tool}": tool_version(tool) for tool in toolchain}


@functools.cache
def tool_version(tool: str) -> str:
    """The first line of what a program says of its version, in whichever way it is asked for it; asked once."""
    for argument in ("--version", "version", "-version", "-Wversion"):
        try:
            said = subprocess.run([tool, argument], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        except OSError:  # it went since it was looked for, and the step will say so
            break
        lines = [line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()]
        if lines and not said.returncode:
            return lines[0]
    return "unknown"


def distribution_folders() -> Iterator[str]:
    """The folders that tell of the distributions that Python finds on its path."""
    for entry in filter(None, sys.path):
        yield from distributions_in(entry, look(entry))


@functools.lru_cache(maxsize=64)
def distributions_in(entry: str, looked: Look | None) -> tuple[str, ...]:
    """The folders of distributions in a folder of Python's path that looks so: it looks otherwise when one comes."""
    if looked is None or not os.path.isdir(entry):  # noqa: PTH112 - the path may be anything
        return ()
    return tuple(os.path.join(entry, name) for name in os.listdir(entry) if name.endswith(".dist-info"))  # noqa: PTH118, PTH208


def installed_distributions() -> dict[str, str]:
    """The distributions that Python finds on its path, by name: read off their folders' names, for speed."""
    return dict(named_distributions(tuple(distribution_folders())))


@functools.lru_cache(maxsize=8)
def named_distributions(folders: tuple[str, ...]) -> dict[str, str]:
    """Version by name, of the first of each name."""
    found: dict[str, str] = {}
    for folder in folders:
        package, _, version = os.path.basename(folder).removesuffix(".dist-info").rpartition("-")  # noqa: PTH119
        found.setdefault(package.lower().replace("_", "-"), version)
    return found


def installed_files() -> str:
    """A digest of what is installed, in hex: the same version may be installed again with other bytes.

    Each distribution's RECORD has the digests of its files. (What an editable one has, a step is seen to read.)
    """
    digests = sorted(record_digest(path, look(path)) for path in map(record_of, distribution_folders()))
    return hashlib.sha256(b"".join(digests)).hexdigest()[:16]


def record_of(folder: str) -> str:
    """Where a distribution's folder lists its files."""
    return f"{folder}{os.sep}RECORD"


known_records: dict[tuple[str, Look], bytes] = {}  # reading them all takes a while


def record_digest(path: str, looked: Look | None) -> bytes:
    """SHA-256 of what a RECORD that looks so says of the files that are imported; read once.

    Who installed them, where to, and their byte-code make no difference.
    """
    if looked is None:
        return b""
    if (path, looked) not in known_records:
        known_records[path, looked] = digest_of_record(path)
    return known_records[path, looked]


def digest_of_record(path: str) -> bytes:
    """See `record_digest`."""
    imported = [
        line
        for line in Path(path).read_bytes().splitlines()
        if b".dist-info/" not in line and b".pyc," not in line and not line.startswith(b"../")
    ]
    return hashlib.sha256(b"\n".join(sorted(imported))).digest()
