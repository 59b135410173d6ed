"""A parameter's default stands in its step's MLproject and nowhere else."""

import inspect
import re
import runpy
import sys
from collections.abc import Callable

import batch_scoring
import clean_file
import download
import pytest
import yaml

from tests.step_programs import ROOT, defaults, entry, program

ENTRY_POINTS = [
    (path.parent.name, name)
    for path in sorted(ROOT.glob("*/MLproject"))
    for name, entry_point in yaml.safe_load(path.read_text(encoding="utf-8"))["entry_points"].items()
    if not entry_point["command"].startswith("python launch.py ")  # of a program in another language
]


@pytest.mark.parametrize(("step", "entry_point"), ENTRY_POINTS)
def test_a_program_needs_every_parameter_and_names_those_it_lacks(
    step: str, entry_point: str, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [program(step, entry_point)])
    try:
        code = runpy.run_path(str(ROOT / step / program(step, entry_point)))["main"]()
    except SystemExit as error:  # argparse's own way
        code = error.code
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert code
    assert "the following arguments are required: " in last
    assert sorted(re.findall(r"--(\w+)", last)) == sorted(entry(step, entry_point)["parameters"])


@pytest.mark.parametrize(
    ("function", "step", "entry_point"),
    [
        (download.download, "data_download", "main"),
        (clean_file.clean_file, "data_cleaning", "main"),
        (clean_file.clean_file, "data_cleaning", "append"),
        (batch_scoring.score_file, "inference", "main"),
    ],
)
def test_a_function_without_arguments_does_what_the_step_does(
    function: Callable[..., object], step: str, entry_point: str
) -> None:
    """Those for whom a step's functions are a library get the same defaults."""
    declared = defaults(step, entry_point)
    for name, parameter in inspect.signature(function).parameters.items():
        if name in declared and parameter.default not in (parameter.empty, None):
            assert parameter.default == read(declared[name], type(parameter.default)), name


def read(text: str, kind: type) -> object:
    return text == "true" if kind is bool else kind(text)
