"""config.yaml takes a value from another file where that says it already."""

import shlex
from pathlib import Path

import pytest

from pipeline.cli.arguments import quoted
from pipeline.cli.composing import compose
from pipeline.errors import RequestError

CONFIG = """
model_name: ${yaml:table.yaml,name}
pipeline:
  a:
    parameters: {model: "${model:${model_name}@champion,b,model}", old: "models:/${model_name}@champion"}
  b: {}
defaults: [_self_, override hydra/job_logging: disabled, override hydra/hydra_logging: disabled]
hydra: {run: {dir: .}, output_subdir: null}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "table.yaml").write_text("name: orders\nfields: [{name: a}]\n")
    monkeypatch.setattr("sys.argv", ["main.py"])
    return tmp_path


def test_a_reference_may_hold_a_value_of_another_file(root):
    (composed,) = compose(root, [])
    request = composed.request()
    assert request.steps["a"].parameters == {
        "model": "${model:orders@champion,b,model}", "old": "models:/orders@champion",
    }  # fmt: skip
    assert composed.simple, "the journal looks at the file that is named"


def test_a_setting_that_config_yaml_has_not_can_be_given_on_the_command_line(root):
    (composed,) = compose(root, ["pass_env=[TOKEN,RAT*]", "max_parallel=3"])
    assert composed.request().pass_env == ("TOKEN", "RAT*")
    assert composed.request().max_parallel == 3
    (composed,) = compose(root, ["--steps", "all", "--data_url", "", "--overrides", "pass_env=[TOKEN]"])
    assert composed.request().pass_env == ("TOKEN",)
    with pytest.raises(RequestError, match="unknown key 'pass_evn' in the command line: did you mean pass_env"):
        compose(root, ["pass_evn=[TOKEN]"])


def test_what_is_composed_once_is_what_hydras_command_line_makes_of_it(root):
    """Hydra's own is taken where an argument is for Hydra itself."""
    (root / "config.yaml").write_text(
        CONFIG + "told: ${hydra:job.config_name} ${hydra:runtime.cwd} ${hydra:job.override_dirname}\n"
    )
    given = ["b.x=1", "steps=[a,b]", "model_name=cars"]
    assert compose(root, given) == compose(root, [*given, "hydra.verbose=false"])


def test_a_sweep_may_be_asked_for_in_config_yaml(root):
    sweep = "sweep: {dir: ., subdir: .}, sweeper: {params: {seed: '1,2'}}"
    settings = f"{{mode: MULTIRUN, run: {{dir: .}}, {sweep}, output_subdir: null}}"
    (root / "config.yaml").write_text(f"seed: 0\n{CONFIG.partition('hydra: {')[0]}hydra: {settings}\n")
    assert [one.values["seed"] for one in compose(root, [])] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [a]", "config.yaml takes 'name' from table.yaml, which has no text or number of that name"),
        ("title: x", "config.yaml takes 'name' from table.yaml, which has no text or number of that name"),
        ("name: [", "table.yaml, from which config.yaml takes 'name', line "),
        (None, "table.yaml, from which config.yaml takes 'name', cannot be read (No such file or directory)"),
    ],
)
def test_a_value_that_is_not_there_is_told_in_a_sentence(root, text, message):
    (root / "table.yaml").unlink() if text is None else (root / "table.yaml").write_text(text)
    with pytest.raises(RequestError) as error:
        compose(root, [])
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_key_stays_known_where_an_override_replaces_the_one_reference_to_it(root):
    (root / "config.yaml").write_text(CONFIG + "data_url: x.csv\n")
    text = (root / "config.yaml").read_text().replace("  b: {}", "  b: {parameters: {data_url: '${data_url}'}}")
    (root / "config.yaml").write_text(text)
    (composed,) = compose(root, ["b.data_url=y.csv"])
    assert composed.request().steps["b"].parameters == {"data_url": "y.csv"}


NUMBERS = """
rate: 1e5
steps: all
pipeline:
  a:
    parameters: {x: 1e5, y: 100_000, z: "${rate}", w: 0.50, v: 12:30, l: [1e3, 2], sub: {deep: 1_0}, seed: 7}
    env: {RATES: 2.0}
    retries: 2
"""


@pytest.fixture
def given(root: Path):
    """The parameters of step `a` with these arguments."""
    (root / "config.yaml").write_text(NUMBERS + CONFIG[CONFIG.index("defaults:") :])
    return lambda *arguments: dict(compose(root, list(arguments))[0].request().steps["a"].parameters)


def test_a_number_reaches_a_step_as_config_yaml_has_it(given):
    assert given() == {
        "x": "1e5", "y": "100_000", "z": "1e5", "w": "0.50", "v": "12:30", "l": "1e3,2", "sub_deep": "1_0", "seed": "7",
    }  # fmt: skip


@pytest.mark.parametrize(
    "number", ["1e6", "100_000", "0.50", "007", "+5", ".5", "100000", "3", "0.001", "12345678901234567890"]
)
def test_a_number_reaches_a_step_as_it_was_typed(given, number):
    assert given(f"a.x={number}")["x"] == number
    assert given("--steps", "all", "--a.x", number)["x"] == number
    assert given(f"pipeline.a.parameters.x={number}", f"rate={number}")["z"] == number


@pytest.mark.parametrize(
    "text",
    ["${oc.env:HOME}", r"\${oc.env:HOME}", r"\\${oc.env:HOME}", "a ${rate} b", "${", "${b}${c}", "$HOME", "${a:x,y}"],
)
def test_what_is_typed_is_text_and_no_interpolation(given, text):
    assert given("--steps", "all", "--a.x", text)["x"] == text
    assert given("--steps", "all", "--overrides", shlex.quote(f"a.x={quoted(text)}"))["x"] == text
    assert given(f"a.x={quoted(text)}")["x"] == text


def test_a_reference_may_be_typed(root):
    (root / "config.yaml").write_text(CONFIG)
    (composed,) = compose(root, ["b.x=${artifact:a,out.csv}"])
    assert str(next(composed.request().steps["b"].references())[1]) == "a's out.csv"


def test_in_a_sweep_each_value_is_the_one_that_was_typed(given, root):
    given()
    composed = compose(root, ["--multirun", "a.x=1e5,${rate},3"])
    assert [one.request().steps["a"].parameters["x"] for one in composed] == ["1e5", "${rate}", "3"]


def test_a_time_limit_is_what_was_written_though_yaml_reads_it_as_seconds(root):
    (root / "config.yaml").write_text("backend: slurm\nbackend_config: {time: 1:30:00, mem: 2000}\n" + CONFIG)
    (composed,) = compose(root, ["backend_config.cpus_per_task=4", "pipeline.b.backend_config.time=2:00:00"])
    steps = composed.request().steps
    assert steps["a"].backend_config == {"time": "1:30:00", "mem": 2000, "cpus_per_task": 4}
    assert steps["b"].backend_config["time"] == "2:00:00"


def test_a_steps_setting_can_be_given_though_its_block_has_none(root):
    (composed,) = compose(root, ["pipeline.b.backend=slurm", "pipeline.b.retries=2"])
    assert composed.request().steps["b"].backend == "slurm"
    assert composed.request().steps["b"].retries == 2
    with pytest.raises(RequestError, match=r"pipeline\.c\.retries"):
        compose(root, ["pipeline.c.retries=2"])
