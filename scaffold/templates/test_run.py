"""@NAME@ as MLflow runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration


def test_it_makes_its_file_and_counts_the_rows(mlflow_run: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "input.csv"
    source.write_text('id,note\n1,plain\n,\n2,"with, comma\nand line"\n', encoding="utf-8")
    done = mlflow_run("@NAME@", input=source)
    assert done.code == 0, done.err
    made = done.artifact("@NAME@.csv").read_text(encoding="utf-8")
    assert made == 'id,note\n1,plain\n2,"with, comma\nand line"\n'
    assert done.run.data.metrics == {"rows_in": 3, "rows_out": 2}


def test_an_empty_file_fails_in_one_sentence(mlflow_run: Callable[..., Any], tmp_path: Path) -> None:
    source = tmp_path / "empty.csv"
    source.touch()
    done = mlflow_run("@NAME@", input=source)
    assert done.code != 0
    said = [line for line in done.err.splitlines() if line.startswith("@NAME@:")]
    assert said == ["@NAME@: empty.csv is empty; give a CSV file with a header"]
    assert "Traceback" not in done.err
    assert done.run.info.status == "FAILED"
