"""What is said at the end of a run; figures as people read them."""

from dataclasses import replace

import pytest

from pipeline.config import parse
from pipeline.reporting.tables import age, columns, conclusion, format_number, run_name, summary
from tests.pipeline.memory import Memory, chain


def test_what_a_run_notes_is_said_under_the_table_also_where_it_is_reused():
    memory = Memory(chain("a", "b"))
    memory.run()
    run = memory.outcomes["b"].run_id
    memory.store.results[run] = replace(memory.store.results[run], note="version 3 is rejected: too bad")
    assert memory.run()["b"] == "reused"
    assert conclusion(memory.outcomes) == "b: version 3 is rejected: too bad"
    assert summary(parse({"pipeline": memory.pipeline}), memory.outcomes).splitlines()[-1].startswith("b     = reused")


def test_a_table_fits_the_terminal_and_a_figure_stays_with_its_name():
    rows = [("step", "metrics"), ("training", "cv_accuracy_mean 0.808  accuracy 0.806  roc_auc 0.876")]
    assert columns(rows, 44).splitlines() == [
        "step      metrics",
        "training  cv_accuracy_mean 0.808",
        "          accuracy 0.806  roc_auc 0.876",
    ]
    assert columns(rows).splitlines()[1].endswith("cv_accuracy_mean 0.808  accuracy 0.806  roc_auc 0.876")


def test_a_run_is_named_after_the_parameters_that_were_asked_for():
    asked = ["steps='a,b'", "++pipeline.a.parameters.seed=1", "force=true"]
    assert run_name(asked) == "a.seed=1 steps='a,b' force=true"
    assert run_name(["steps='all'"]) == run_name([]) == "pipeline"


def test_what_a_step_reads_of_an_earlier_run_is_said_but_not_where_an_alias_says_what_is_read():
    memory = Memory(chain("a", "b"))
    memory.pipeline["b"]["parameters"]["model"] = "${model:m@champion,a,out}"
    memory.run()
    run = memory.outcomes["a"].run_id
    planner = memory.planner(steps=["b"])
    planner.check()
    assert [text.partition(" of ")[0] for text in planner.borrowed("b")] == [f"a's out from run {run[:8]}"]
    memory.store.aliases["m", "champion"] = "3"
    memory.pipeline["b"]["parameters"].pop("input")
    planner = memory.planner(steps=["b"])
    planner.check()
    assert planner.borrowed("b") == []


def test_a_path_that_is_nearly_right_is_warned_about_before_anything_runs(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "titanic_sample.csv").touch()
    memory = Memory({"a": {"parameters": {"url": "data/titanc_sample.csv"}}})
    planner = memory.planner()
    planner.resolver = replace(planner.resolver, root=tmp_path)
    assert planner.check() == ["a.url: there is no data/titanc_sample.csv; did you mean data/titanic_sample.csv?"]
    for right in ("data/titanic_sample.csv", "https://x/titanc_sample.csv", "titanc_sample.csv", "none/x.csv", "1/2"):
        memory.pipeline["a"]["parameters"]["url"] = right
        planner = memory.planner()
        planner.resolver = replace(planner.resolver, root=tmp_path)
        assert planner.check() == []


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (901.0, "901"),
        (0.8063, "0.806"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (1e300, "1e+300"),
    ],
)
def test_any_metric_can_be_shown(value, shown):
    assert format_number(value) == shown


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3700, "1 h 1 min"), (200_000, "2 d 7 h")]
)
def test_a_long_time_is_said_in_two_units(seconds, said):
    assert age(seconds) == said
