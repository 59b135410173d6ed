"""`--watch`: stay in the foreground with everything imported, and run again whenever something that counts changes.

    once            import what the orchestrator and the steps import
    for ever        fork a round: the same as `python main.py` without --watch
                    wait for its end or for a change; a change ends a round that is under way
                    say what differs from the round before

The files are watched by a process of its own (watchfiles has threads, and what has threads must not be forked).
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from pipeline import journal
from pipeline.execution.launcher import Launcher
from pipeline.execution.prewarming import imported_by, lacking, script_of
from pipeline.files import names_digest, read_yaml

# Folders and files that a round writes itself, or that nothing depends on.
IGNORED = {"outputs", "mlruns", ".git", ".venv", ".pipeline", "__pycache__", ".hypothesis", ".pytest_cache"}
IGNORED_FILES = (".pyc", ".db", ".db-wal", ".db-shm", ".db-journal", ".db.lock", "~", ".swp", ".swx")
# Prints a line of JSON, the changed paths, for each batch of changes below the folders that it is given; the first line
# says that it is watching.
WATCHER = """
import json, os, sys, watchfiles
parent = os.getppid()
options = dict(watch_filter=None, step=20, debounce=400, rust_timeout=200, yield_on_timeout=True, raise_interrupt=False)
for number, changes in enumerate(watchfiles.watch(*sys.argv[1:], **options)):
    if os.getppid() != parent:
        break
    if changes or not number:
        print(json.dumps(sorted({path for _, path in changes})), flush=True)
"""


def watch(round_: Callable[[], NoReturn], root: Path) -> NoReturn:
    """Run rounds until Ctrl-C; `round_` is called in a fork, and ends it with its exit code."""
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    import_ahead(root)
    packages = packages_state(root)
    before = metrics(root)
    with Watcher(root) as watcher:
        while True:
            print(f"\nround {time.strftime('%H:%M:%S')}", flush=True)
            pid = fork(round_)
            try:
                changed = watcher.until_change_or_end_of(pid)
            except BaseException:  # Ctrl-C, SIGTERM, a closed terminal: the round has heard of it, or hears of it now
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(pid, signal.SIGTERM)
                    os.waitpid(pid, 0)
                raise
            if changed:
                os.kill(pid, signal.SIGTERM)
                os.waitpid(pid, 0)
                print(f"changed while it ran: {named(changed, root)}; starting over", flush=True)
            else:
                now = metrics(root)
                print("\n".join(differences(before, now)) or "no figure differs from the round before", flush=True)
                before = now
                watcher.watch_what_was_read()
                print("watching: save a file to run again, Ctrl-C to end", flush=True)
                changed = watcher.until_change()
                print(f"changed: {named(changed, root)}", flush=True)
            if packages_state(root) != packages or any(is_ours(path, root) for path in changed):
                break
    print("the orchestrator or a package changed: starting anew", flush=True)
    os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - ourselves


def import_ahead(root: Path) -> None:
    """Import what every round needs, and what the steps' scripts import, so that each fork has it."""
    import hydra  # noqa: F401
    from hydra.core.hydra_config import HydraConfig  # noqa: F401

    launcher = Launcher()
    launcher.import_base_modules()
    from pipeline.execution.fork_server import AT_FIRST_USE, import_quietly

    ours = ("pipeline.session", "pipeline.execution.executor", "pipeline.cli.composing", "rich.live")
    for module in (*AT_FIRST_USE, *ours):
        import_quietly(module)
    for file in root.glob("*/MLproject"):
        entry_points = (read_yaml(file.read_bytes()) or {}).get("entry_points") or {}
        for entry_point in entry_points.values():
            if script := script_of(str((entry_point or {}).get("command") or "")):
                for module in lacking(imported_by(file.parent / script)):
                    import_quietly(module)


def fork(round_: Callable[[], NoReturn]) -> int:
    """Run a round in a fork of this process; its process ID."""
    sys.stdout.flush()
    parent = os.getpid()
    if pid := os.fork():
        return pid
    try:
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()
        round_()
    except BaseException:  # nothing may unwind into the loop of the process that this is a copy of
        traceback.print_exc()
    finally:
        os._exit(1)


def end_with(parent: int) -> None:
    """Whoever started the rounds may be killed: then this one ends too."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


class Watcher:
    """The process that watches the project's folder, and what the last run read elsewhere."""

    def __init__(self, root: Path):
        self.root = root
        self.missed: list[str] = []  # what changed before it was said that it is watching
        self.process = self.start(watched_places(root))

    def start(self, places: list[str]) -> "subprocess.Popen[str]":
        """A process that watches these folders."""
        self.places = places
        command = [sys.executable, "-c", WATCHER, *places]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if process.stdout:
            self.missed = json.loads(process.stdout.readline() or "[]")
        return process

    def __enter__(self) -> "Watcher":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def until_change_or_end_of(self, pid: int) -> list[str]:
        """The paths that changed; none where the process ended first."""
        while True:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return []
            if changed := self.changes(0.05):
                return changed

    def watch_what_was_read(self) -> None:
        """Watch elsewhere too, now that a round has told what it read there."""
        if (places := watched_places(self.root)) != self.places:
            self.__exit__()
            self.process = self.start(places)

    def until_change(self) -> list[str]:
        """The paths that changed."""
        while True:
            if changed := self.changes(3600):
                return changed

    def changes(self, timeout: float) -> list[str]:
        """What changed and counts, within so many seconds."""
        stream = self.process.stdout
        if self.missed:
            missed, self.missed = self.missed, []
            return [path for path in missed if counts(Path(path), self.root)]
        if not stream or not select.select([stream], [], [], timeout)[0]:
            return []
        line = stream.readline()
        if not line:
            raise RuntimeError("the process that watches the files ended")
        return [path for path in json.loads(line) if counts(Path(path), self.root)]


def watched_places(root: Path) -> list[str]:
    """The project's folder, and the files elsewhere that the last answer depended on."""
    places = {str(root)}
    for file in (root / journal.FOLDER).glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = (Path(name) for name in json.loads(file.read_text(encoding="utf-8"))["elsewhere"])
            places |= {str(path) for path in found if path.is_file()}
    return sorted(places)


def counts(path: Path, root: Path) -> bool:
    """Whether a change of this path may change a result; elsewhere only such paths are watched."""
    if not path.is_relative_to(root):
        return True
    parts = path.relative_to(root).parts
    temporary = path.name.startswith((".tmp", ".#")) or path.name.endswith(IGNORED_FILES)
    return IGNORED.isdisjoint(parts) and not temporary


def is_ours(path: str, root: Path) -> bool:
    """Whether a path is the orchestrator's own."""
    return path == str(root / "main.py") or Path(path).is_relative_to(root / "pipeline")


def packages_state(root: Path) -> list[str]:
    """The names in the folders that Python finds packages in."""
    folders = [Path(entry) for entry in sys.path if entry and Path(entry).resolve() != root]
    return [names_digest(folder) for folder in folders if folder.is_dir()]


def metrics(root: Path) -> dict[str, Mapping[str, Any]]:
    """Each step's metrics as the last manifest has them."""
    try:
        manifest = json.loads((root / "outputs" / "manifest.json").read_text(encoding="utf-8"))
        return {name: step["metrics"] for name, step in manifest["steps"].items()}
    except (OSError, ValueError, KeyError):
        return {}


def differences(before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs from the round before, a line for each step."""
    lines = []
    for step, values in now.items():
        old = before.get(step, {})
        told = [f"{n} {short(old[n])} → {short(v)}" for n, v in values.items() if n in old and old[n] != v]
        if told:
            lines.append(f"{step}: {', '.join(told)}")
    return lines


def short(value: Any) -> str:
    """A metric in few characters; `nan` and `inf` are text in the manifest."""
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def named(paths: Iterable[str], root: Path) -> str:
    """Paths as people name them, the first few."""
    names = [str(Path(p).relative_to(root)) if Path(p).is_relative_to(root) else p for p in paths]
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
