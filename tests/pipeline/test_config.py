"""config.yaml is read strictly: every mistake is named, all of them at once, with the nearest good name."""

import pytest

from pipeline.config import Reference, parse, references
from pipeline.errors import RequestError
from pipeline.planning.graph import descendants, order


def problems(config: dict) -> list[str]:
    with pytest.raises(RequestError) as error:
        request = parse(config)
        order(request.steps)
    return error.value.problems


def test_references_make_the_graph_and_the_order():
    request = parse(
        {
            "pipeline": {
                "c": {"parameters": {"x": "${artifact:b,out.csv}"}},
                "b": {"parameters": {"x": "${metric:a,rows}"}},
                "a": {},
                "d": {"after": ["c"]},
            }
        }
    )
    assert order(request.steps) == ["a", "b", "c", "d"]
    assert descendants(request.steps, ["b"]) == {"c", "d"}


def test_every_mistake_is_told_at_once():
    found = problems(
        {
            "stepz": "all",
            "max_parallel": "two",
            "pipeline": {"a": {"retrys": 2}, "b": {"timeout": "long"}, "c": {"parameters": {"x": "${artifact:a}"}}},
        }
    )
    assert len(found) == 5
    assert "unknown key 'stepz' in config.yaml: did you mean steps?" in found[0]
    assert "max_parallel='two' in config.yaml is not a whole number" in found[1]
    assert "unknown key 'retrys' in pipeline.a: did you mean retries?" in found[2]
    assert "pipeline.b.timeout='long' is not a number" in found[3]
    assert "pipeline.c: the reference ${artifact:a} is not of the form ${artifact:STEP,PATH}" in found[4]


def test_unknown_step_gets_the_nearest_name_and_all_of_them():
    (found,) = problems({"steps": "trainning", "pipeline": {"training": {}, "inference": {}}})
    assert found == "unknown step 'trainning': did you mean training? Valid: training, inference, all"


def test_reference_to_a_step_that_does_not_exist_is_refused():
    (found,) = problems({"pipeline": {"a": {"parameters": {"x": "${artifact:bb,out}"}}, "b": {}}})
    assert "unknown step 'bb' in pipeline.a: did you mean b?" in found


def test_circle_is_named_step_by_step():
    (found,) = problems({"pipeline": {"a": {"after": "c"}, "b": {"after": "a"}, "c": {"after": "b"}}})
    circle = found.split(":")[1].split(";")[0].strip()
    assert "circle" in found
    assert circle in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c")


@pytest.mark.parametrize("steps", ["b,a", "a, b", " a ,b ", ["b", "a"], "all"])
def test_steps_may_come_in_any_order_with_spaces(steps):
    assert parse({"steps": steps, "pipeline": {"a": {}, "b": {}}}).selected == ("a", "b")


def test_empty_selection_is_refused():
    assert "steps is empty" in problems({"steps": " , ", "pipeline": {"a": {}}})[0]


def test_parameters_become_the_text_that_mlflow_takes():
    step = parse(
        {"pipeline": {"a": {"parameters": {"on": True, "n": 3, "x": 0.5, "l": [1, "b"], "none": None, "s": {"t": 5}}}}}
    ).steps["a"]
    assert step.parameters == {"on": "true", "n": "3", "x": "0.5", "l": "1,b", "s_t": "5"}


def test_a_key_that_the_configuration_itself_refers_to_is_a_variable():
    assert parse({"data_url": "x", "pipeline": {"a": {}}}, used=["data_url"]).selected == ("a",)
    assert "unknown key 'data_url'" in problems({"data_url": "x", "pipeline": {"a": {}}})[0]


def test_references_are_found_inside_text():
    assert references("a ${metric:x,n} b ${artifact:y,d/e.csv}") == [
        Reference("metric", "x", "n"),
        Reference("artifact", "y", "d/e.csv"),
    ]
    assert references("${model:titanic@champion,training,model}") == [
        Reference("model", "training", "model", "titanic@champion")
    ]


def test_unknown_environment_manager_is_refused():
    assert "did you mean conda?" in problems({"env_manager": "condo", "pipeline": {"a": {}}})[0]


def test_a_group_stands_for_its_steps_and_all_leaves_out_what_runs_manual():
    config = {"pipeline": {"a": {}, "b": {"manual": True}, "c": {}}, "groups": {"again": ["b", "a"]}}
    assert parse(config).selected == ("a", "c")
    assert parse({**config, "steps": "again"}).selected == ("a", "b")
    assert parse({**config, "steps": "again,c"}).selected == ("a", "b", "c")
    assert "did you mean again?" in problems({**config, "steps": "agian"})[0]
    assert "unknown step 'd' in groups.again" in problems({**config, "groups": {"again": ["d"]}})[0]
    assert "has the name of a step" in problems({**config, "groups": {"a": ["c"]}})[0]


@pytest.mark.parametrize("name", ["it's", 'a"b', "a`b", "a/b", "../a", "", "a\nb", 7])
def test_a_step_has_a_name_that_goes_into_queries_and_file_names(name):
    (found,) = problems({"pipeline": {name: {}}})
    assert f"the step's name {name!r}" in found
