"""The frame of a step's program: parameters, and one line where it fails."""

import sys

import mlflow
import pytest
from step import boolean, choice, number, optional, parse_parameters, run_step, whole
from step_error import StepError

KINDS = {"share": number(0, 1), "rows": whole(1, 100), "report": boolean, "how": choice("keep", "drop")}
GOOD = {"share": "0.5", "rows": "7", "report": "True", "how": "keep"}


def parse(monkeypatch: pytest.MonkeyPatch, **changes: str):
    arguments = [part for name, value in (GOOD | changes).items() for part in (f"--{name}", value)]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    return parse_parameters("example", **KINDS)


def test_each_parameter_gets_its_type(monkeypatch):
    found = parse(monkeypatch)
    assert (found.share, found.rows, found.report, found.how) == (0.5, 7, True, "keep")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("share", "1.5", "share='1.5' is not a number from 0 to 1"),
        ("share", "nan", "share='nan' is not a number from 0 to 1"),
        ("share", "many", "share='many' is not a number from 0 to 1"),
        ("rows", "0.5", "rows='0.5' is not a whole number from 1 to 100"),
        ("report", "yes", "report='yes' is neither true nor false"),
        ("how", "impute", "how='impute' is not one of keep, drop"),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_would_be_one(monkeypatch, name, text, message):
    with pytest.raises(StepError) as error:
        parse(monkeypatch, **{name: text})
    assert str(error.value) == message


def test_all_that_is_wrong_is_told_at_once(monkeypatch):
    with pytest.raises(StepError, match=r"share='2'.*; rows='x'.*; how='y'"):
        parse(monkeypatch, share="2", rows="x", how="y")


def test_a_parameter_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run.py", "--share", "1"])
    with pytest.raises(StepError, match="required: --rows, --report, --how"):
        parse_parameters("example", **KINDS)


def test_an_empty_text_may_mean_that_nothing_is_given():
    assert optional(number(0, 1))(" ") is None and optional(number(0, 1))("1") == 1


def test_a_step_that_cannot_do_what_was_asked_says_so_in_a_line_and_its_run_has_failed(store, capsys):
    def work(run, folder):
        assert folder.is_dir()
        raise StepError("rows=0 is not enough; give more")

    assert run_step("example", work) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "example: rows=0 is not enough; give more"
    (run,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    assert run.info.status == "FAILED"
