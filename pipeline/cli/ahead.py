"""Import what every step needs while a fork of this process composes the configuration: each on a core of its own.

Whether that is worth it is guessed from the request as it was typed, and whatever is guessed, the answer is the same: a
mistake is found a second later, or the imports are made later.
"""

import contextlib
import multiprocessing
import re
import signal
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import MULTIRUN, hydra_arguments, raw_config
from pipeline.cli.composing import Composed, compose
from pipeline.config import SETTINGS, Step
from pipeline.errors import RequestError
from pipeline.execution.launcher import Launcher
from pipeline.execution.prewarming import imports_of, known_imports
from pipeline.planning.project import load


def import_ahead(root: Path, arguments: list[str]) -> tuple[Launcher | None, list[Composed]]:
    """A launcher with the base modules imported (None where it looks as if no step will run), and what `compose` gives.

    Raises:
        RequestError: an override or config.yaml is wrong.
    """
    written = raw_config(root)
    launcher = None
    with contextlib.suppress(AttributeError, KeyError, OSError, TypeError, RequestError):  # the parser will say so
        if start_method := start_method_of(root, arguments, written):
            launcher = Launcher(start_method)
    if not launcher or not launcher.forks:
        return None, compose(root, arguments)
    if launcher.has_base_modules():  # a round of --watch: there is nothing to do meanwhile
        return launcher, compose(root, arguments)
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=compose_for, args=(theirs, root, arguments))
    process.start()
    theirs.close()
    launcher.import_base_modules()
    try:
        answer, imports = ours.recv()
    except EOFError:  # it was killed
        answer, imports = compose(root, arguments), {}
    process.join()
    known_imports.update(imports)
    if isinstance(answer, RequestError):
        raise answer
    return launcher, answer


def compose_for(parent: Connection, root: Path, arguments: list[str]) -> None:
    """In the fork: compose, read what the steps' scripts import, and hand both over."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the other process says that it was interrupted
        signal.signal(number, signal.SIG_DFL)
    answer: list[Composed] | RequestError
    try:
        answer = compose(root, arguments)
    except RequestError as error:
        answer = error
    with contextlib.suppress(AttributeError, KeyError, TypeError):  # the parser will say so
        for name, block in raw_config(root)["pipeline"].items():
            with contextlib.suppress(OSError, RequestError):
                step = Step(name, entry_point=(block or {}).get("entry_point", "main"))
                imports_of(load(step, root / ((block or {}).get("uri") or name), check=False))
    parent.send((answer, known_imports))


def start_method_of(root: Path, arguments: list[str], written: Mapping[str, Any]) -> str:
    """How the steps' processes will start, at a glance; "" where it looks as if none will."""
    settings = {key: written.get(key) for key in ("dry_run", "start_method")}
    for argument in hydra_arguments(arguments, root):
        key, _, value = argument.partition("=")
        if argument not in MULTIRUN and not is_known(key, value, written, root):
            return ""
        settings[key] = value.strip("'\"")
    return "" if settings["dry_run"] in ("true", True) else settings["start_method"] or "forkserver"


def is_known(key: str, value: str, written: Mapping[str, Any], root: Path) -> bool:
    """Whether an override looks right: a key of config.yaml, steps that are there, a parameter that a step has."""
    steps = written.get("pipeline") or {}
    if match := re.fullmatch(r"[+~]*pipeline\.(\w+)\.parameters\.(\w+)", key):
        file = root / match[1] / "MLproject"
        return match[2] in ((steps.get(match[1]) or {}).get("parameters") or {}) or (
            file.is_file() and f" {match[2]}:" in file.read_text(errors="replace")
        )
    if key == "steps":
        return {"all", *steps, *(written.get("groups") or {})} >= set(re.findall(r"[\w-]+", value))
    return key in written or key in SETTINGS
