"""The steps' programs, started in this process as `mlflow run` does: by the command and the defaults of MLproject."""

import runpy
import shlex
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

ROOT = Path(__file__).resolve().parents[1]


def entry(step: str, entry_point: str = "main") -> dict[str, Any]:
    """What the step's MLproject says of the entry point: `parameters` and `command`."""
    return yaml.safe_load((ROOT / step / "MLproject").read_text(encoding="utf-8"))["entry_points"][entry_point]


def defaults(step: str, entry_point: str = "main") -> dict[str, str]:
    """The defaults of the entry point's parameters, as text; those that have none are not in it."""
    parameters = entry(step, entry_point)["parameters"]
    return {name: str(one["default"]) for name, one in parameters.items() if "default" in one}


def program(step: str, entry_point: str = "main") -> str:
    """The file that the entry point starts."""
    python, file, *_ = entry(step, entry_point)["command"].split()
    assert python == "python"
    return file


def command_line(step: str, entry_point: str = "main", **parameters: object) -> list[str]:
    """The entry point's program and its arguments, with the defaults for what is not in `parameters`."""
    declared = entry(step, entry_point)
    assert set(parameters) <= set(declared["parameters"]), parameters
    values = defaults(step, entry_point) | {name: str(value) for name, value in parameters.items()}
    quoted = {name: shlex.quote(value) for name, value in values.items()}
    return shlex.split(declared["command"].format(**quoted))[1:]


def run_program(step: str, entry_point: str = "main", **parameters: object) -> int:
    """The program's `main()`; its exit code."""
    with mock.patch.object(sys, "argv", command_line(step, entry_point, **parameters)):
        return runpy.run_path(str(ROOT / step / program(step, entry_point)))["main"]()
