"""What a step's own files say: its MLproject, the entry point's parameters, its environment."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import yaml_reading
from pipeline.config import Step
from pipeline.errors import RequestError, unknown

GIT_URI = re.compile(r"^(git\+)?(https?|ssh|git|file)://|^git@|\.git(#.*)?$")


@dataclass(frozen=True)
class Project:
    """A step's folder, and what its MLproject declares for the entry point that is used."""

    folder: Path
    parameters: Mapping[str, Mapping[str, Any]]  # name -> type, default, description
    environment: str  # the environment file, or docker, or "" where there is none
    command: str = ""  # the entry point's, with its placeholders

    def defaults(self) -> dict[str, str]:
        """The parameters that need not be given, as text."""
        return {name: str(p["default"]) for name, p in self.parameters.items() if p.get("default") is not None}

    def is_path(self, parameter: str) -> bool:
        """Whether MLflow hands over a local copy of what the parameter names."""
        return self.parameters.get(parameter, {}).get("type") == "path"


def load_all(steps: Iterable[Step], root: Path, clones: Path) -> dict[str, Project]:
    """Each step's project by name.

    Raises:
        RequestError: every folder, file, entry point, parameter or tool that is not there, at once.
    """
    problems: list[str] = []
    projects = {}
    for step in steps:
        problems += [
            f"step {step.name}: there is no program {tool!r} on the PATH, which its toolchain names; "
            f"install it, or correct pipeline.{step.name}.toolchain"
            for tool in step.toolchain
            if shutil.which(tool) is None
        ]
        try:
            projects[step.name] = load(step, locate(step, root, clones))
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return projects


def locate(step: Step, root: Path, clones: Path) -> Path:
    """The step's folder; a Git URI (`…#subfolder` for a part of it) is cloned into `clones` first."""
    uri = step.uri or step.name
    if (root / uri).is_dir():
        return (root / uri).resolve()
    if not GIT_URI.search(uri):
        raise RequestError(
            f"step {step.name}: there is no folder {uri!r} in {root}; make it, or set pipeline.{step.name}.uri"
        )
    address, _, subfolder = uri.removeprefix("git+").partition("#")
    clones.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{step.name}-", dir=clones))
    for command in (["clone", "--quiet", "--", address, "."], ["checkout", "--quiet", step.version or "HEAD", "--"]):
        done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["git failed"])[-1]
            version = step.version or "HEAD"
            raise RequestError(f"step {step.name}: cannot get {uri!r} at {version!r} ({last}); check uri and version")
    inside = (folder / subfolder).resolve()
    if not inside.is_relative_to(folder.resolve()) or not inside.is_dir():
        raise RequestError(f"step {step.name}: there is no folder {subfolder!r} in {address}; check uri")
    return inside


def load(step: Step, folder: Path, check: bool = True) -> Project:
    """Read the MLproject in `folder` and `check` the step's parameters against it."""
    file = folder / "MLproject"
    if not file.is_file():
        raise RequestError(f"step {step.name}: {folder.name}/ has no MLproject file; every step is an MLflow project")
    where = f"{folder.name}/MLproject"
    spec = block(yaml_reading.read(file, f"step {step.name}: {where}"), where, step)
    entry_points = block(spec.get("entry_points"), f"{where}: entry_points", step)
    environment = environment_file(spec, folder)
    if step.entry_point not in entry_points:
        raise RequestError(unknown("entry point", step.entry_point, entry_points, where))
    entry_point = block(entry_points[step.entry_point], f"{where}: {step.entry_point}", step)
    declared = block(entry_point.get("parameters"), f"{where}: parameters", step)
    parameters = {name: {"type": p} if isinstance(p, str) else block(p, name, step) for name, p in declared.items()}
    problems = [
        unknown("parameter", f"{step.name}.{name}", [f"{step.name}.{p}" for p in parameters], where)
        + setting_hint(step, name)
        for name in step.parameters
        if name not in parameters
    ]
    problems += [
        f"step {step.name}: parameter {name!r} has no value and no default; set {step.name}.{name}=…"
        for name, p in parameters.items()
        if p.get("default") is None and name not in step.parameters
    ]
    if environment not in ("", "docker") and not (folder / environment).is_file():
        problems.append(f"step {step.name}: {where} names the environment file {environment}, which is not there")
    if problems and check:
        raise RequestError(problems)
    return Project(folder, parameters, environment, str(entry_point.get("command") or ""))


def block(value: Any, what: str, step: Step) -> dict[str, Any]:
    """A block of keys, which may be left out.

    Raises:
        RequestError: it is something else.
    """
    if not isinstance(value, dict | None):
        raise RequestError(f"step {step.name}: {what} is {str(value)[:50]!r}, not a block of keys")
    return dict(value or {})


def setting_hint(step: Step, name: str) -> str:
    """`training.retries=2` reads well, but STEP.NAME is always a parameter: say where the setting is."""
    is_setting = name in Step.__dataclass_fields__ and name != "name"
    return f" (the setting is pipeline.{step.name}.{name})" if is_setting else ""


def environment_file(spec: Mapping[str, Any], folder: Path) -> str:
    """The environment file that MLflow would use, as it looks for it."""
    for key in ("conda_env", "python_env"):
        if spec.get(key):
            return str(spec[key])
    if spec.get("docker_env"):
        return "docker"
    return next((name for name in ("python_env.yaml", "conda.yaml", "conda.yml") if (folder / name).is_file()), "")
