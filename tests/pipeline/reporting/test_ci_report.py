"""What a comment on a pull request says of two pipeline runs."""

import pytest

from pipeline.config import parse
from pipeline.reporting.ci_report import MOST_LINES, ci_report, escaped, folded

REQUEST = parse({"pipeline": {"a": {"summary_metrics": ["rows", "share"]}, "b": None}})


def step(state: str = "executed", reason: str = "", **metrics: float) -> dict:
    return {"state": state, "reason": reason, "metrics": metrics}


def report(old: dict, new: dict, notes=None, differences=None, places=({}, {})) -> str:
    manifests = ({"status": "FINISHED", "steps": steps} for steps in (old, new))
    return ci_report(REQUEST, *manifests, notes or {}, differences or {}, places)


def test_metrics_stand_beside_those_of_before():
    said = report({"a": step(rows=1.0, share=0.5)}, {"a": step(rows=2.0, share=0.5), "b": step("failed", "no shop")})
    assert said.splitlines() == [
        "### Pipeline FINISHED: 1 executed, 1 failed", "",
        "**b failed**: no shop", "",
        "| step | metric | before | now |",
        "| --- | --- | ---: | ---: |",
        "| a | rows | 1 | 2 **changed** |",
        "| a | share | 0.500 | 0.500 |", "",
        "No step differs.",
    ]  # fmt: skip


def test_a_step_that_is_new_has_no_metrics_of_before():
    assert "| a | rows |  | 2 **changed** |" in report({}, {"a": step(rows=2.0)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a | b\n**c**", "a \\| b \\*\\*c\\*\\*"),
        ("<script>", "&lt;script&gt;"),
        ("@everybody", "@\u200beverybody"),
        ("[a](http://b)", "\\[a\\](http://b)"),
    ],
)
def test_what_a_step_says_is_text_and_nothing_else(text, expected):
    assert escaped(text) == expected


def test_no_line_ends_the_fence_it_is_shown_in():
    assert "\n`````text\n````\nout\n`````\n" in folded("x", ["````", "out"])


def test_of_a_long_text_the_first_differences_are_shown(tmp_path):
    for name, line in (("old", "x"), ("new", "y")):
        (tmp_path / name).write_text(f"{line}\n" * 500)
    places = tuple({"a": {"card.md": tmp_path / name}} for name in ("old", "new"))
    said = report({"a": step()}, {"a": step()}, places=places)
    assert f"… and {1003 - MOST_LINES} lines more\n```" in said
