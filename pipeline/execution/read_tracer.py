"""Writes down what a Python process reads: every file that it opens, every folder that it lists.

    PIPELINE_READS           the file that gets a line of JSON for each: {"path", "size", "mtime", "ctime", "inode"}
    PIPELINE_READS_IGNORED   folders and files that do not count, separated by os.pathsep: the interpreter and its
                             packages, the step's scratch folder, the tracking store

`start` is called in a step's process; `site/sitecustomize.py` calls it in each Python that the step starts. An audit
hook hears of what Python itself opens. What a library opens past Python (Arrow's own readers, say), and what programs
in other languages read, it does not hear of. Standard library only, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

FILE, IGNORED = "PIPELINE_READS", "PIPELINE_READS_IGNORED"
# Never what a result depends on: the system's own, and what identifies a person to a service.
SYSTEM = ("/proc", "/sys", "/dev", "/run", "/usr", "/lib", "/lib64", "/bin", "/sbin", "/var/lib", "/var/cache")
SYSTEM_FILES = {
    "/etc/hosts", "/etc/localtime", "/etc/mime.types", "/etc/os-release", "/etc/passwd", "/etc/group",
    "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/machine-id", "/etc/debian_version", "/etc/lsb-release",
    "/etc/timezone", "/etc/httpd/mime.types", "/etc/apache2/mime.types", "/etc/gitconfig",
}  # fmt: skip
CREDENTIALS = (".netrc", "_netrc", ".databrickscfg", ".aws", ".config/gcloud", ".azure", ".kube", ".git-credentials")
CACHES = (".cache", ".local/share/mlflow", ".mlflow")


class Tracer:
    """Takes down each path once."""

    def __init__(self, file: str, ignored: list[str]):
        self.file = file
        home = os.path.expanduser("~")
        hidden = [os.path.join(home, name) for name in (*CREDENTIALS, *CACHES)]
        own = [sys.prefix, sys.base_prefix, sys.exec_prefix, os.path.dirname(os.__file__)]
        packages = [entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")]
        self.ignored = tuple(
            {os.path.join(form, "") for path in [*SYSTEM, "/etc/ssl", *hidden, *own, *packages, *ignored] if path
             for form in (os.path.abspath(path), os.path.realpath(path))}
        )  # fmt: skip
        self.seen: set[str] = set()
        self.written: set[str] = set()
        self.busy = threading.local()

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python for each of its audit events."""
        if event == "open":
            path, _, flags = arguments
            self.note(path, bool(flags & (os.O_WRONLY | os.O_CREAT)), listing=False)
        elif event in ("os.listdir", "os.scandir"):
            caller = sys._getframe(1).f_code.co_filename
            if not caller.startswith("<frozen importlib"):  # who looks for a module finds it, and opens it
                self.note(arguments[0] if arguments[0] is not None else ".", False, listing=True)
        elif event == "sqlite3.connect":
            self.note(arguments[0], False, listing=False)

    def note(self, given: Any, is_written: bool, listing: bool) -> None:
        """Take down a path, unless it does not count or was made by this very process."""
        if getattr(self.busy, "now", False) or not isinstance(given, (str, bytes, os.PathLike)):
            return
        self.busy.now = True  # what is opened here to take it down is not to be taken down
        try:
            path = os.path.abspath(os.fsdecode(given))
            if path in self.seen or path in SYSTEM_FILES or os.path.join(path, "").startswith(self.ignored):
                return
            if is_written:
                self.written.add(path)
                return
            if path in self.written or path == self.file:
                return
            self.seen.add(path)
            self.append(source_of(path), listing)
        except (OSError, ValueError):
            pass  # it is not there: the step will say so, if it minds
        finally:
            self.busy.now = False

    def append(self, path: str, listing: bool) -> None:
        """One line, written at once: whatever ends this process, what it read is known."""
        found = os.stat(path)
        line = {
            "path": path,
            "listing": listing,
            "size": found.st_size,
            "mtime": found.st_mtime_ns,
            "ctime": found.st_ctime_ns,
            "inode": found.st_ino,
        }
        file = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, (json.dumps(line) + "\n").encode())
        finally:
            os.close(file)


def source_of(path: str) -> str:
    """The source that a cached byte-code file was made from, where it is there: that is what people change."""
    folder, name = os.path.split(path)
    if name.endswith(".pyc") and os.path.basename(folder) == "__pycache__":
        source = os.path.join(os.path.dirname(folder), name.partition(".")[0] + ".py")
        if os.path.exists(source):
            return source
    return path


def start() -> None:
    """Take down what this process reads from here on, if it was asked to."""
    file = os.environ.get(FILE)
    if file:
        ignored = os.environ.get(IGNORED, "").split(os.pathsep)
        sys.addaudithook(Tracer(file, ignored).hook)
