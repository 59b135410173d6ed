"""Writes down what a Python process reads: every file that it opens, every folder that it lists.

    PIPELINE_READS           the file that gets a line of JSON for each: its path, and how it looks
    PIPELINE_READS_IGNORED   folders and files that do not count, separated by os.pathsep: the interpreter and its
                             packages, the step's scratch folder, the tracking store

`start` is called in a step's process; `site/sitecustomize.py` calls it in each Python that the step starts. An audit
hook hears of what Python itself opens. What a library opens past Python (Arrow's own readers, say), and what programs
in other languages read, it does not hear of. Standard library only, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import stat
import sys
import threading
import time
from typing import Any

FILE, IGNORED = "PIPELINE_READS", "PIPELINE_READS_IGNORED"
# Never what a result depends on: the system's own, and what identifies a person to a service.
SYSTEM = (
    "/proc", "/sys", "/run/systemd", "/run/user", "/usr/lib", "/usr/lib64", "/usr/bin", "/usr/sbin", "/usr/share",
    "/usr/include", "/lib", "/lib64", "/bin", "/sbin", "/var/cache", "/var/lib/dpkg",
)  # fmt: skip
SYSTEM_FILES = {
    "/etc/hosts", "/etc/localtime", "/etc/mime.types", "/etc/os-release", "/etc/passwd", "/etc/group",
    "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/machine-id", "/etc/debian_version", "/etc/lsb-release",
    "/etc/timezone", "/etc/httpd/mime.types", "/etc/apache2/mime.types", "/etc/gitconfig",
}  # fmt: skip
CREDENTIALS = (".netrc", "_netrc", ".databrickscfg", ".aws", ".config/gcloud", ".azure", ".kube", ".git-credentials")
CACHES = (".cache/matplotlib", ".cache/fontconfig", ".cache/pip", ".cache/uv", ".local/share/mlflow", ".mlflow")
LISTED_BY_PYTHON = ("<frozen importlib", "importlib_metadata", f"importlib{os.sep}metadata")


class Tracer:
    """Takes down each path once."""

    def __init__(self, file: str, ignored: list[str]):
        self.file = file
        home = os.path.expanduser("~")
        hidden = [os.path.join(home, name) for name in (*CREDENTIALS, *CACHES)]
        own = [os.path.dirname(os.__file__)]
        if os.path.exists(os.path.join(sys.prefix, "pyvenv.cfg")):
            own.append(sys.prefix)
        if os.path.isdir(os.path.join(sys.prefix, "conda-meta")):
            own += [os.path.join(sys.prefix, name) for name in ("lib", "share", "etc", "ssl", "bin")]
        packages = [entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")]
        self.ignored = tuple(
            {os.path.join(form, "") for path in [*SYSTEM, "/etc/ssl", *hidden, *own, *packages, *ignored] if path
             for form in (os.path.abspath(path), os.path.realpath(path))}
        )  # fmt: skip
        self.seen: set[str] = set()
        self.written: set[str] = set()
        self.started = time.time_ns()
        self.busy = threading.local()

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python for each of its audit events."""
        if event == "open":
            path, _, flags = arguments
            self.note(path, bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)), False, bool(flags & os.O_TRUNC))
        elif event in ("os.listdir", "os.scandir"):
            caller = sys._getframe(1).f_code.co_filename
            if not any(words in caller for words in LISTED_BY_PYTHON):  # who looks for a module opens it
                self.note(arguments[0] if arguments[0] is not None else ".", False, listing=True)
        elif event == "os.rename" and isinstance(arguments[0], str) and isinstance(arguments[1], str):
            if os.path.abspath(arguments[0]) in self.written:
                self.written.add(os.path.abspath(arguments[1]))
        elif event == "sqlite3.connect":
            name = os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else arguments[0]
            is_uri = isinstance(name, str) and name.startswith("file:")
            self.note(name[5:].partition("?")[0] if is_uri else name, False, listing=False)

    def note(self, given: Any, is_written: bool, listing: bool, emptied: bool = False) -> None:
        """Take down a path, unless it does not count or was made by this very process."""
        if getattr(self.busy, "now", False) or not isinstance(given, (str, bytes, os.PathLike)):
            return
        self.busy.now = True  # what is opened here to take it down is not to be taken down
        try:
            path = os.path.abspath(os.fsdecode(given))
            if path in self.seen or path in SYSTEM_FILES or os.path.join(path, "").startswith(self.ignored):
                return
            if is_written:
                if emptied or not os.path.exists(path):  # what is only added to, it may read too
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
        line: dict[str, Any] = {"path": path, "listing": listing, "started": self.started}
        try:
            found = os.stat(path)
        except FileNotFoundError:  # what is not there now may be the next time
            pass
        else:
            if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
                return  # a device, a pipe
            line["look"] = [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
            if listing or stat.S_ISDIR(found.st_mode):
                line["names"] = names_digest(path)
        file = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, (json.dumps(line) + "\n").encode())
        finally:
            os.close(file)


def names_digest(folder: str) -> str:
    """SHA-256, in hex, of the names in a folder, byte-code aside."""
    names = sorted(os.fsencode(name) for name in os.listdir(folder) if name != "__pycache__")
    return hashlib.sha256(b"\0".join(names)).hexdigest()


def source_of(path: str) -> str:
    """The source that a cached byte-code file was made from, where it is there: that is what people change."""
    if path.endswith(".pyc"):
        try:
            source = importlib.util.source_from_cache(path)  # knows sys.pycache_prefix too
        except ValueError:
            return path
        if os.path.exists(source):
            return source
    return path


def start() -> None:
    """Take down what this process reads from here on, if it was asked to."""
    file = os.environ.get(FILE)
    if file:
        ignored = os.environ.get(IGNORED, "").split(os.pathsep)
        sys.addaudithook(Tracer(file, ignored).hook)
