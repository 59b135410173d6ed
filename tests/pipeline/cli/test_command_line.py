"""What is typed reaches the configuration as it was meant, through Hydra's grammar and through `mlflow run`."""

from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.arguments import hydra_arguments, quoted, rerun_command
from pipeline.cli.composing import in_a_sentence
from pipeline.errors import RequestError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("steps: all\npipeline:\n  training: {}\n  data_cleaning: {}\n")
    return tmp_path


def value(override: str):
    return OverridesParser.create().parse_override(override).value()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1, max_size=30))
def test_any_text_survives_hydras_grammar(text):
    assert str(value(f"x={quoted(text)}")) == text


@pytest.mark.parametrize("url", ["https://a/b?c=d&e={f},g#h", "file:///a b.csv", "C:\\data\\x.csv", "it's"])
def test_a_url_with_special_characters_comes_through_mlflow_run(url, root):
    arguments = hydra_arguments(["--steps", "all", "--data_url", url, "--overrides", ""], root)
    assert str(value(arguments[1])) == url


def test_an_empty_parameter_leaves_the_configuration_alone(root):
    assert hydra_arguments(["--steps", "all", "--data_url", "", "--overrides", ""], root) == ["steps='all'"]


def test_a_secret_of_the_environment_cannot_be_asked_for_by_a_parameter(root):
    (steps,) = hydra_arguments(["--steps", "${oc.env:HOME}", "--data_url", "", "--overrides", ""], root)
    assert steps == r"steps='\${oc.env:HOME}'"


def test_step_parameters_are_rewritten_wherever_they_come_from(root):
    expected = ["steps='all'", "++pipeline.training.parameters.model=rf", "++pipeline.training.parameters.seed='1'"]
    given = ["--steps", "all", "--data_url", "", "--overrides", "training.model=rf", "--training.seed", "1"]
    assert hydra_arguments(given, root) == expected
    assert hydra_arguments(["training.search.trials=5", "~training.seed", "pipeline.training.cache=false"], root) == [
        "++pipeline.training.parameters.search.trials=5",
        "~pipeline.training.parameters.seed",
        "++pipeline.training.cache=false",
    ]


def test_a_mistyped_step_in_an_override_is_named(root):
    with pytest.raises(RequestError, match="did you mean training"):
        hydra_arguments(["trainning.seed=1"], root)


def test_steps_with_commas_need_no_brackets(root):
    assert hydra_arguments(["steps=training,data_cleaning"], root) == ["steps='training,data_cleaning'"]
    assert hydra_arguments(["--multirun", "training.seed=0,1"], root)[1] == "++pipeline.training.parameters.seed=0,1"


def test_unclosed_quotes_are_said_so(root):
    with pytest.raises(RequestError, match="close the quotes"):
        hydra_arguments(["--steps", "all", "--data_url", "", "--overrides", "a='b"], root)


def test_an_unknown_key_gets_the_nearest(root):
    error = ValueError("Could not override 'max_paralel'.\nKey 'max_paralel' is not in struct")
    assert "did you mean max_parallel?" in in_a_sentence(error, root)


def test_the_command_that_continues_keeps_what_was_asked_for():
    direct = rerun_command(["steps=all", "training.seed=1"], "local", ["b", "c"])
    assert direct == ["python", "main.py", "steps=[b,c]", "training.seed=1"]
    through = rerun_command(["--steps", "all", "--data_url", "x y.csv", "--overrides", "training.seed=1"], "uv", ["b"])
    kept = ["-P", "data_url=x y.csv", "-P", "overrides=training.seed=1"]
    assert through == ["mlflow", "run", ".", "--env-manager", "uv", "-P", "steps=b", *kept]


@pytest.mark.integration
def test_another_folders_pipeline_has_its_own_steps_store_and_outputs_and_may_use_ours(toy, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    toy.step("ours")
    toy.step("mine")
    other = toy.folder / "other"
    other.mkdir()
    (toy.folder / "mine").rename(other / "mine")
    toy.config |= {"pipeline": {"mine": {}, "again": {"uri": "../ours"}}, "journal": True}
    (other / "config.yaml").write_text(yaml.safe_dump(toy.config))
    done = toy.run("--config-dir", "other")
    assert done.code == 0, done.err
    assert {path.name for path in other.iterdir()} >= {"mine", "mlflow.db", "outputs"}
    assert not (toy.folder / "outputs").exists() and not (toy.folder / "mlflow.db").exists()
    assert "nothing changed since" in toy.run("--config-dir", "other").out
    (toy.folder / "ours" / "run.py").write_text((toy.folder / "ours" / "run.py").read_text() + "# changed")
    assert "1 executed, 1 reused" in toy.run("--config-dir", "other").out
    again = toy.run("steps=[again]", "again.do=fail:no", "--config-dir=other")
    assert again.code == 1
    assert "continue with: python main.py 'steps=[again]' again.do=fail:no --config-dir other" in again.out
    nowhere = toy.run("--config-dir", "nowhere")
    assert nowhere.code == 2
    assert nowhere.err == f"error: --config-dir nowhere: there is no config.yaml in {toy.folder / 'nowhere'}\n"
