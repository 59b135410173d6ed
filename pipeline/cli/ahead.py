"""Import what the steps need while another process composes the configuration: each on a core of its own.

The next one is the script server, which imports what scripts need that are run without MLflow, while MLflow is imported
here. Whether it is worth it is guessed from the request as it was typed, and whatever is guessed, the answer is the
same: a mistake is found later, or the imports are made later.
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
from pipeline.config import SETTINGS, Request
from pipeline.errors import RequestError
from pipeline.execution.fork_server import import_quietly
from pipeline.execution.launcher import Launcher
from pipeline.execution.prewarming import known_imports, modules_without_mlflow
from pipeline.planning.fingerprint import installed_files, known_records
from pipeline.planning.project import Project, load

# Of what it imports, those that come first: forks for scripts that want pandas, too, have it.
FIRST_OF_MLFLOW = ("pandas", "sqlalchemy")


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
    try:
        return launcher, compose_beside(launcher, root, arguments)
    except BaseException:
        launcher.close()
        raise


def compose_beside(launcher: Launcher, root: Path, arguments: list[str]) -> list[Composed]:
    """Import the base modules, and start the script server, while the configuration is composed: what came of that."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=compose_for, args=(theirs, root, arguments))
    process.start()
    theirs.close()
    with ours:
        for module in FIRST_OF_MLFLOW:
            if not ours.poll():
                import_quietly(module)
        try:
            answer, modules, imports = ours.recv()
        except EOFError:  # it was killed
            answer, modules, imports = compose(root, arguments), [], {}
        if isinstance(answer, RequestError):
            raise answer
        known_imports.update(imports)
        launcher.start_script_server(modules)
        launcher.import_base_modules()
        with contextlib.suppress(EOFError):
            known_records.update(ours.recv())
    process.join()
    return list(answer)


def compose_for(parent: Connection, root: Path, arguments: list[str]) -> None:
    """In a fork: compose, and hand over what came of it; then, what the plan will ask for."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the other process says that it was interrupted
        signal.signal(number, signal.SIG_DFL)
    answer: list[Composed] | RequestError
    modules: list[str] = []
    try:
        answer = compose(root, arguments)
        with contextlib.suppress(IndexError, OSError, RequestError):  # the plan will say so
            request = answer[0].request()
            modules = modules_without_mlflow(request, projects_here(request, root))
    except RequestError as error:
        answer = error
    with contextlib.suppress(OSError):  # nobody wants to know any more
        parent.send((answer, modules, known_imports))
        installed_files()
        parent.send(known_records)


def projects_here(request: Request, root: Path) -> dict[str, Project]:
    """The projects of the selected steps that lie here, as far as they can be read."""
    folders = {name: root / (request.steps[name].uri or name) for name in request.selected}
    return {name: load(request.steps[name], folder, check=False) for name, folder in folders.items() if folder.is_dir()}


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
