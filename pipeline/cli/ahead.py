"""Begin with the imports before the configuration is composed, where the request looks right at a glance.

Composing takes a fifth of a second in which the fork server can import what the steps need. Whatever is guessed here,
the answer is the same: a mistake is found a second later, or a step starts later.
"""

import contextlib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.cli.arguments import MULTIRUN, hydra_arguments, raw_config
from pipeline.config import SETTINGS, Step
from pipeline.errors import RequestError
from pipeline.execution.launcher import Launcher
from pipeline.execution.prewarming import modules_of_scripts
from pipeline.planning.project import Project, load


def import_ahead(root: Path, arguments: list[str]) -> Launcher | None:
    """A launcher whose fork server has begun to import; None where the request looks as if no step will run."""
    with contextlib.suppress(AttributeError, KeyError, OSError, TypeError, RequestError):  # the parser will say so
        written = raw_config(root)
        settings = {key: written.get(key) for key in ("dry_run", "start_method", "env_manager")}
        for argument in hydra_arguments(arguments, root):
            key, _, value = argument.partition("=")
            if argument not in MULTIRUN and not is_known(key, value, written, root):
                return None
            settings[key] = value.strip("'\"")
        launcher = Launcher(settings["start_method"] or "forkserver")
        if settings["dry_run"] in ("true", True) or not launcher.forks:
            return None
        projects = projects_as_written(root, written)
        launcher.import_base_modules()
        # `mlflow run` starts us with the Python of the root's environment, if it made one: the steps have theirs.
        inherited = settings["env_manager"] in (None, "inherit") and not Path(sys.prefix).name.startswith("mlflow-")
        if inherited or settings["env_manager"] == "local":
            launcher.start_server(modules_of_scripts(projects))
        return launcher
    return None


def projects_as_written(root: Path, written: Mapping[str, Any]) -> list[Project]:
    """The projects of the steps that `all` means, as far as they can be read."""
    found = []
    for name, block in written["pipeline"].items():
        block = block or {}
        if not block.get("manual"):
            with contextlib.suppress(RequestError):
                found.append(load(Step(name, entry_point=block.get("entry_point", "main")), root / name, check=False))
    return found


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
