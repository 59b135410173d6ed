"""The orchestrator's end of a prewarmed interpreter; the other end is prewarmed_interpreter.py."""

import contextlib
import functools
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.config import Request
from pipeline.execution import prewarmed_interpreter
from pipeline.planning.project import Project

# `python x.py …` and nothing that only a shell understands; `{name}` is where MLflow puts a (quoted) value.
PLAIN_PYTHON = re.compile(r"python3?\s+[\w./-]+\.py(\s+([\w./=,:@%+-]|\{\w+\})+)*\s*")


def script_of(command: str) -> str:
    """The script that an entry point's command runs, or "" where it is more than `python SCRIPT.py ARGUMENTS`."""
    return shlex.split(command)[1] if PLAIN_PYTHON.fullmatch(command.strip()) else ""


# Packages that MLflow imports itself: scripts with no more than these run where it has been imported anyway.
OF_MLFLOW = {"numpy", "pandas", "pyarrow", "requests", "tqdm", "urllib3", "yaml", *sys.stdlib_module_names}
known_imports: dict[Path, list[str]] = {}  # script -> what it imports at its top: reading them all takes a while


def modules_of_scripts(projects: Iterable[Project]) -> list[str]:
    """The modules that the scripts of these steps import at their top, each once, and this process has not."""
    return lacking(module for project in projects for module in imports_of(project))


def running_here(request: Request, projects: Mapping[str, Project]) -> list[Project]:
    """Those of the steps' projects that will probably run with the Python, and the packages, of this process.

    `mlflow run` starts us with the Python of the root's environment, if it made one: the steps then have theirs.
    """
    own = Path(sys.prefix).name.startswith("mlflow-")
    if request.env_manager != "local" and (request.env_manager != "inherit" or own):
        return []
    steps = request.steps
    return [
        project
        for name, project in projects.items()
        if steps[name].env_manager in ("inherit", "local") and not steps[name].is_remote
    ]


def modules_without_mlflow(request: Request, projects: Mapping[str, Project]) -> list[str]:
    """What is imported by the scripts that will probably run here, import no MLflow, and more than MLflow would."""
    found = [modules_of_scripts([one]) for one in running_here(request, projects) if not uses_mlflow(one)]
    needing = [modules for modules in found if {name.partition(".")[0] for name in modules} - OF_MLFLOW]
    return list(dict.fromkeys(module for modules in needing for module in modules))


def lacking(modules: Iterable[str]) -> list[str]:
    """Those of these that can be imported here ahead of time and have not been, each once."""
    return [module for module in dict.fromkeys(modules) if module not in sys.modules and is_installed(module)]


def imports_of(project: Project) -> list[str]:
    """What the script of a step imports at its top; nothing where the step is no plain Python script."""
    name = script_of(project.command) if project.environment != "docker" else ""
    return imported_by(project.folder / name) if name else []


def uses_mlflow(project: Project) -> bool:
    """Whether the script of a step imports MLflow at its top: others leave what they made in $STEP_OUTPUTS."""
    return any(module.partition(".")[0] == "mlflow" for module in imports_of(project))


def imported_by(script: Path) -> list[str]:
    """What a script imports at its top, as it was when this was first asked."""
    if script not in known_imports:
        known_imports[script] = prewarmed_interpreter.imported_modules(script)
    return known_imports[script]


@functools.cache
def is_installed(module: str) -> bool:
    """Whether a module belongs to the interpreter or its packages: what lies elsewhere, the step itself imports.

    That is then among what it read, and may have another content when the next step imports it.
    """
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(module.partition(".")[0])
        places = [spec.origin or "", *(spec.submodule_search_locations or [])] if spec else []
        return any(place.startswith((sys.prefix, sys.base_prefix)) for place in places)
    return False


class Interpreter:
    """A Python of a step's own environment that imports `modules` and what the script imports, then waits for it."""

    def __init__(
        self,
        python: Path,
        folder: str,
        script: str,
        modules: Iterable[str],
        ready_file: str,
        environ: Mapping[str, str],
    ):
        program = prewarmed_interpreter.__file__
        self.process = subprocess.Popen(
            [str(python), program, ready_file, str(Path(folder, script)), *modules],
            stdin=subprocess.PIPE,
            cwd=folder,
            env=dict(environ),
            text=True,
        )

    def send(self, arguments: list[str], folder: str, environ: Mapping[str, str]) -> bool:
        """Have it run the script; False where it died meanwhile."""
        try:
            request = {"arguments": arguments, "folder": folder, "environ": dict(environ)}
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except OSError:
            return False
        return True
