"""What runs, what is reused, what is skipped and why: the planner and the runner, without MLflow."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RequestError
from pipeline.execution.runner import dry_run
from pipeline.planning.graph import descendants
from tests.pipeline.memory import Memory, chain


def test_an_unchanged_second_run_executes_nothing():
    memory = Memory(chain("a", "b", "c"))
    assert memory.run() == {"a": "executed", "b": "executed", "c": "executed"}
    assert memory.run() == {"a": "reused", "b": "reused", "c": "reused"}
    assert memory.outcomes["a"].reason == "nothing changed"


def test_a_step_whose_code_changed_but_not_its_output_is_where_it_stops():
    memory = Memory(chain("a", "b", "c"))
    memory.executor.constant.add("b")
    memory.run()
    memory.code["b"] = "# a comment"
    assert memory.run() == {"a": "reused", "b": "executed", "c": "reused"}
    assert memory.outcomes["b"].reason == "its code changed: changed run.py"


def test_a_changed_parameter_is_told_with_both_values():
    memory = Memory({"a": {"parameters": {"depth": 5}}})
    memory.run()
    memory.pipeline["a"]["parameters"]["depth"] = 7
    memory.run()
    assert memory.outcomes["a"].reason == "parameter depth 5 → 7"


def test_a_changed_input_is_told_by_its_name():
    memory = Memory(chain("a", "b"))
    memory.run()
    memory.code["a"] = "new"
    assert memory.run() == {"a": "executed", "b": "executed"}
    assert memory.outcomes["b"].reason == "input out changed"


def test_a_lost_artifact_is_made_again_and_never_handed_on():
    memory = Memory(chain("a", "b"))
    memory.run()
    lost = memory.outcomes["a"].run_id
    memory.store.lost.add(lost)
    assert memory.run() == {"a": "executed", "b": "reused"}
    assert "no longer in the store" in memory.outcomes["a"].reason
    assert memory.outcomes["a"].run_id != lost


def test_a_step_whose_effect_was_undone_runs_again_though_its_content_is_the_same():
    memory = Memory(chain("a", "b"))
    memory.run()
    undone = memory.outcomes["a"].run_id
    memory.store.undone.add(undone)
    assert memory.run() == {"a": "executed", "b": "reused"}
    assert memory.outcomes["a"].reason == f"effect of run {undone} is undone"
    assert memory.run() == {"a": "reused", "b": "reused"}


def test_an_older_run_with_the_same_fingerprint_is_reused():
    memory = Memory({"a": {"parameters": {"seed": 0}}})
    memory.run()
    first = memory.outcomes["a"].run_id
    memory.pipeline["a"]["parameters"]["seed"] = 1
    memory.run()
    memory.pipeline["a"]["parameters"]["seed"] = 0
    assert memory.run() == {"a": "reused"}
    assert memory.outcomes["a"].run_id == first


def test_forced_steps_run_though_nothing_changed():
    memory = Memory(chain("a", "b"))
    memory.run()
    assert memory.run(force=["b"]) == {"a": "reused", "b": "executed"}
    assert memory.run(force=True) == {"a": "executed", "b": "executed"}


def test_cache_false_always_runs():
    memory = Memory({"a": {"cache": False}})
    memory.run()
    assert memory.run() == {"a": "executed"}


def test_a_remote_address_is_fetched_again_unless_its_digest_is_given():
    memory = Memory({"a": {"parameters": {"data_url": "http://example.com/x.csv"}}})
    memory.run()
    assert memory.run() == {"a": "executed"}
    assert "may have changed" in memory.outcomes["a"].reason
    memory.pipeline["a"]["parameters"]["sha256"] = "0" * 64
    memory.run()
    assert memory.run() == {"a": "reused"}


def test_a_subset_takes_its_input_from_the_latest_good_run():
    memory = Memory(chain("a", "b"))
    memory.run()
    made = memory.outcomes["a"].run_id
    memory.code["b"] = "new"
    assert memory.run(steps="b") == {"b": "executed"}
    assert memory.outcomes["b"].decision.inputs["input"].uri == f"runs:/{made}/out"


def test_an_input_that_nobody_made_is_refused_before_anything_starts():
    memory = Memory(chain("a", "b", "c"))
    with pytest.raises(RequestError) as error:
        memory.run(steps="b,c")
    (problem,) = error.value.problems
    assert "b needs a's out" in problem
    assert "add it: steps=a,b,c" in problem
    assert memory.executor.started == []


def test_an_upstream_result_made_by_other_code_is_warned_about():
    memory = Memory(chain("a", "b"))
    memory.run()
    memory.code["a"] = "new"
    planner = memory.planner(steps="b")
    (warning,) = planner.check()
    assert "is outdated: its code changed: changed run.py" in warning


def test_an_output_that_the_upstream_run_did_not_make_is_named():
    memory = Memory(chain("a", "b"))
    memory.run(steps="a")
    memory.pipeline["b"]["parameters"]["input"] = "${artifact:a,other.csv}"
    with pytest.raises(RequestError, match=r"made no other\.csv \(it made: out\)"):
        memory.run(steps="b")
    assert memory.run() == {"a": "reused", "b": "failed"}


def test_credentials_in_a_parameter_are_refused_without_repeating_them():
    memory = Memory({"a": {"parameters": {"data_url": "https://me:s3cret@example.com/x.csv"}}})
    with pytest.raises(RequestError) as error:
        memory.run()
    assert "holds a secret" in str(error.value)
    assert "s3cret" not in str(error.value)


def test_retries_run_a_failed_step_again():
    memory = Memory({"a": {"retries": 2, "retry_pause": 0}})
    memory.executor.failing["a"] = 2
    assert memory.run() == {"a": "executed"}
    assert memory.executor.started == ["a", "a", "a"]
    assert [e.kind for e in memory.events if e.kind == "retry"] == ["retry", "retry"]


def test_a_failure_continues_where_it_stopped():
    memory = Memory(chain("a", "b", "c"))
    memory.executor.failing["b"] = 1
    assert memory.run() == {"a": "executed", "b": "failed", "c": "skipped"}
    assert memory.outcomes["c"].reason == "b failed"
    memory.executor.failing.clear()
    assert memory.run() == {"a": "reused", "b": "executed", "c": "executed"}


def test_a_step_killed_by_the_system_hints_at_memory():
    memory = Memory({"a": {}})
    memory.executor.failing["a"], memory.executor.code = 1, -9
    memory.run()
    assert memory.outcomes["a"].reason == "killed by the system (signal 9), most often because memory ran out"


def conditional(**later) -> Memory:
    blocks = {
        "monitoring": {},
        "retrain": {"when": "${metric:monitoring,drift}"},
        "score": {"parameters": {"model": "${artifact:retrain,out}"}, **later},
        "report": {"after": ["retrain"]},
    }
    return Memory(blocks)


def test_a_condition_that_is_zero_skips_the_step_and_what_reads_from_it():
    memory = conditional()
    memory.executor.metrics["monitoring"] = {"drift": 0.0}
    assert memory.run() == {"monitoring": "executed", "retrain": "skipped", "score": "skipped", "report": "executed"}
    assert memory.outcomes["retrain"].reason == "when: monitoring's metric drift is 0"
    assert memory.outcomes["score"].reason == "retrain was skipped"


def test_a_condition_that_is_not_zero_runs_the_step():
    memory = conditional()
    memory.executor.metrics["monitoring"] = {"drift": 1.0}
    assert set(memory.run().values()) == {"executed"}


def test_a_skipped_step_can_be_replaced_by_its_latest_good_result():
    memory = conditional(if_skipped="latest")
    memory.executor.metrics["monitoring"] = {"drift": 1.0}
    memory.run()
    made = memory.outcomes["retrain"].run_id
    memory.executor.metrics["monitoring"] = {"drift": 0.0}
    memory.code["monitoring"] = "new"
    states = memory.run()
    assert (states["retrain"], states["score"]) == ("skipped", "reused")
    assert memory.outcomes["score"].decision.inputs["model"].uri == f"runs:/{made}/out"


def test_a_model_reference_means_the_alias_and_until_there_is_one_the_step():
    memory = Memory({"train": {}, "score": {"parameters": {"model": "${model:m@champion,train,out}"}}})
    memory.run()
    uri = memory.outcomes["score"].decision.inputs["model"].uri
    assert uri == f"runs:/{memory.outcomes['train'].run_id}/out"
    memory.store.aliases["m", "champion"] = "3"
    assert memory.run() == {"train": "reused", "score": "executed"}
    assert memory.outcomes["score"].decision.inputs["model"].uri == "models:/m/3"


def test_an_alias_in_a_parameter_is_resolved_to_the_version_it_means_now():
    memory = Memory({"score": {"parameters": {"model": "models:/m@champion"}}})
    assert memory.run() == {"score": "failed"}
    assert "no version of model 'm' carries the alias 'champion'" in memory.outcomes["score"].reason
    memory.store.aliases["m", "champion"] = "1"
    assert memory.run() == {"score": "executed"}
    assert memory.outcomes["score"].decision.parameters["model"] == "models:/m/1"
    memory.store.aliases["m", "champion"] = "2"
    assert memory.run() == {"score": "executed"}


def test_a_dry_run_tells_what_would_run_and_starts_nothing():
    memory = Memory(chain("a", "b", "c"))
    memory.run()
    memory.code["b"] = "new"
    planner = memory.planner()
    memory.executor.started.clear()
    decisions = dry_run(planner.request, planner, memory.order(planner.request))
    assert {name: d.action for name, d in decisions.items()} == {"a": "reuse", "b": "execute", "c": "execute"}
    assert decisions["b"].reason == "its code changed: changed run.py"
    assert "out will be made again; reused if the content stays the same" in decisions["c"].reason
    assert memory.executor.started == []


# -- over random graphs ---------------------------------------------------------------------------------------------


@st.composite
def graphs(draw) -> dict:
    """A pipeline of up to eight steps, each reading from some of those before it, listed in any order."""
    names = [f"s{i}" for i in range(draw(st.integers(1, 8)))]
    blocks = {}
    for i, name in enumerate(names):
        upstream = draw(st.lists(st.sampled_from(names[:i]), unique=True, max_size=3)) if i else []
        blocks[name] = {"parameters": {f"x{j}": f"${{artifact:{u},out}}" for j, u in enumerate(upstream)}}
    return {name: blocks[name] for name in draw(st.permutations(names))}


@settings(deadline=None)
@given(graphs(), st.integers(1, 4))
def test_order_is_respected_and_nothing_runs_twice(blocks, max_parallel):
    memory = Memory(blocks)
    assert set(memory.run(max_parallel).values()) == {"executed"}
    started = memory.executor.started
    assert sorted(started) == sorted(blocks)
    ended = [e.outcome.step for e in memory.events if e.kind == "ended"]
    position = {(e.step, e.kind): i for i, e in enumerate(memory.events) if e.kind in ("started", "ended")}
    for name, step in memory.planner().request.steps.items():
        assert all(position[u, "ended"] < position[name, "started"] for u in step.upstream())
    assert sorted(ended) == sorted(blocks)


@settings(deadline=None)
@given(graphs(), st.data())
def test_a_failure_skips_exactly_its_descendants(blocks, data):
    memory = Memory(blocks)
    failing = data.draw(st.sampled_from(sorted(blocks)))
    memory.executor.failing[failing] = 1
    states = memory.run()
    skipped = descendants(memory.planner().request.steps, [failing])
    assert {n for n, s in states.items() if s == "skipped"} == skipped
    assert {n for n, s in states.items() if s == "failed"} == {failing}


@settings(deadline=None)
@given(graphs(), st.data())
def test_a_change_runs_the_changed_step_and_those_whose_inputs_really_changed(blocks, data):
    memory = Memory(blocks)
    memory.executor.constant = set(data.draw(st.lists(st.sampled_from(sorted(blocks)), unique=True)))
    memory.run()
    assert set(memory.run().values()) == {"reused"}
    changed = data.draw(st.sampled_from(sorted(blocks)))
    memory.code[changed] = "new"
    states = memory.run()
    steps = memory.planner().request.steps
    expected = {changed}
    for name in memory.order(memory.planner().request):
        if any(u in expected and u not in memory.executor.constant for u in steps[name].upstream()):
            expected.add(name)
    assert {n for n, s in states.items() if s == "executed"} == expected


def test_upstream_runs_can_be_named_where_their_steps_are_not_run():
    memory = Memory(
        {"a": {"parameters": {"depth": 5}}, **chain("b", "c")} | {"c": {"parameters": {"x": "${artifact:a,out}"}}}
    )
    memory.run()
    first = memory.outcomes["a"].run_id
    memory.pipeline["a"]["parameters"]["depth"] = 7
    memory.run()
    assert memory.run(steps="c", upstream_runs={"a": first}) == {"c": "reused"}
    assert memory.outcomes["c"].decision.parameters["x"] == f"runs:/{first}/out"
    assert not [event.text for event in memory.events if "outdated" in event.text], "that run was asked for"
    with pytest.raises(RequestError, match="run 'b' is no good run of a"):
        memory.run(steps="c", upstream_runs={"a": "b"})


def test_a_step_whose_upstream_is_said_to_be_skipped_is_skipped():
    memory = Memory(chain("a", "b") | {"c": {"after": ["a"]}})
    assert memory.run(steps="b,c", upstream_runs={"a": ""}) == {"b": "skipped", "c": "executed"}
    assert memory.outcomes["b"].reason == "a was skipped"
