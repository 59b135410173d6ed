"""`make step`: a folder, a block in config.yaml and a test, all at once, and they run."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.errors import RequestError
from scaffold import locks
from scaffold.new_step import LANGUAGES, main, new_step
from tests.conftest import ROOT, Finished
from tests.test_layout import STEPS

CSV = 'id,note\n1,"with ""quotes"", comma\nand line"\n,\n2,plain ü\n"",""\n3,\n'
WANTED = 'id,note\n1,"with ""quotes"", comma\nand line"\n2,plain ü\n3,\n'


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Of the project, what `new_step` looks at."""
    root = tmp_path / "project"
    shutil.copytree(ROOT / "kit", root / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "tests").mkdir()
    names = ["config.yaml", "conda.yml", "pyproject.toml", "requirements.lock"]
    for name in [*names, *(f"{step}/requirements.lock" for step in STEPS)]:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    return root


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("after", yaml.safe_load((ROOT / "config.yaml").read_text())["pipeline"])
def test_the_block_stands_behind_the_other_and_no_other_line_of_the_configuration_changes(small, after):
    before = (small / "config.yaml").read_text().splitlines()
    new_step(small, "mine", after, output="some.csv")
    text = (small / "config.yaml").read_text()
    lines = text.splitlines()
    start = lines.index("  mine:")
    length = next(n for n, line in enumerate(lines[start + 1 :], 1) if not line.startswith("    "))
    assert lines[: start - 1] + lines[start + length :] == before, "a blank line, the block, and the rest as it was"
    pipeline = yaml.safe_load(text)["pipeline"]
    names = list(pipeline)
    assert names[names.index(after) + 1] == "mine"
    assert pipeline["mine"]["parameters"] == {"input": f"${{artifact:{after},some.csv}}"}
    assert pipeline["mine"].get("manual") == pipeline[after].get("manual"), "`all` makes what it reads"


def test_a_block_at_the_end_of_the_file_and_of_other_indentation_gets_its_successor(small):
    (small / "config.yaml").write_text("pipeline:\n    one: # first\n        uri: a\n\n        # its last word")
    new_step(small, "two", "one", output="a.csv")
    text = (small / "config.yaml").read_text()
    assert text.startswith("pipeline:\n    one: # first\n        uri: a\n\n        # its last word\n\n    two:\n")
    assert yaml.safe_load(text)["pipeline"]["two"]["parameters"] == {"input": "${artifact:one,a.csv}"}


@pytest.mark.parametrize("config", ["pipeline: {one: {uri: a}}\n", "pipeline: {one: {}, three: {}}\nsteps: all\n"])
def test_a_configuration_that_it_cannot_add_to_is_left_alone_and_the_block_is_said(small, config):
    (small / "config.yaml").write_text(config)
    before = files(small)
    with pytest.raises(RequestError, match=r"cannot add to; under one add\n *two:\n *parameters:"):
        new_step(small, "two", "one", output="a.csv")
    assert files(small) == before


@pytest.mark.parametrize(("language", "tools"), [("python", None), ("c++", ["g++"]), ("r", ["Rscript"])])
def test_the_block_names_what_the_step_is_run_or_compiled_by(small, language, tools):
    new_step(small, "mine", "training", language, "holdout.csv")
    assert yaml.safe_load((small / "config.yaml").read_text())["pipeline"]["mine"].get("toolchain") == tools


def test_it_reads_the_file_that_others_read(small):
    assert "reads clean_data.csv" in "\n".join(new_step(small, "mine", "data_cleaning"))
    assert "reads predictions.csv" in "\n".join(new_step(small, "other", "inference"))
    assert "reads holdout.csv" in "\n".join(new_step(small, "third", "training"))


def test_what_an_extended_step_makes_is_what_its_model_makes(small):
    (small / "config.yaml").write_text(
        "pipeline:\n  one: {}\n  again:\n    extends: one\n  reader:\n    parameters: {x: '${artifact:one,a.csv}'}\n"
    )
    new_step(small, "mine", "again")
    block = yaml.safe_load((small / "config.yaml").read_text())["pipeline"]["mine"]
    assert block["parameters"]["input"] == "${artifact:again,a.csv}"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "NAME is missing: make step NAME="),
        (["mine"], "AFTER is missing: make step NAME="),
        (["1st", "training"], "NAME='1st' is no name for a step"),
        (["Mine", "training"], "NAME='Mine' is no name for a step"),
        (["class", "training"], "NAME='class' is no name for a step"),
        (["x" * 33, "training"], "is no name for a step"),
        (["../mine", "training"], "NAME='../mine' is no name for a step"),
        (["training", "data_cleaning"], "NAME=training is taken already, by training and config.yaml"),
        (["kit", "training"], "NAME=kit is taken already, by kit"),
        (["all", "training"], "NAME=all is taken already, by config.yaml"),
        (["retrain", "training"], "NAME=retrain is taken already, by config.yaml"),
        (["json", "training"], "NAME=json is a Python module"),
        (["mine", "data_cleanin"], "unknown step 'data_cleanin' in config.yaml: did you mean data_cleaning?"),
        (["mine", "training", "jaav"], "unknown LANGUAGE 'jaav': did you mean java?"),
        (["mine", "monitoring"], "does not tell which CSV file monitoring makes; say it: OUTPUT=FILE.csv"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_a_wrong_request_is_one_sentence_and_nothing_is_written(small, arguments, said, capsys, monkeypatch):
    before = files(small)
    monkeypatch.setattr("scaffold.new_step.ROOT", small)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err
    assert files(small) == before


def test_where_a_part_cannot_be_written_none_is(small):
    shutil.rmtree(small / "tests")
    (small / "tests").touch()
    before = files(small)
    with pytest.raises(RequestError, match="nothing was made: File exists"):
        new_step(small, "mine", "training")
    assert files(small) == before


def test_where_the_last_part_cannot_be_written_what_was_moved_goes_again(small, monkeypatch):
    config, before = small / "config.yaml", files(small)
    write = Path.write_text

    def full(path: Path, *arguments, **options):
        if path == config:
            raise OSError(28, "No space left on device", str(path))
        return write(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full)  # a full disk cannot be had for a test
    with pytest.raises(RequestError, match=r"nothing was made: No space left on device: .*config\.yaml"):
        new_step(small, "mine", "training")
    assert files(small) == before


@pytest.mark.parametrize("language", LANGUAGES)
def test_its_environment_is_pinned_and_locked_as_the_others(small, language):
    new_step(small, "mine", "training", language)
    environment = yaml.safe_load((small / "mine" / "conda.yml").read_text())
    pip = environment["dependencies"][-1]["pip"]
    root = locks.locked((small / "requirements.lock").read_text())
    text = (small / "mine" / "requirements.lock").read_text()
    assert set(pip[1:]) <= locks.locked(text) <= root
    assert pip[0] == "-r requirements.lock"
    conda = (small / "mine" / "conda.yml").read_text()
    assert conda == locks.with_digest(conda, text) and hashlib.sha256(text.encode()).hexdigest() in conda
    assert "pandas==" not in text, "no larger than it need be"
    text = (small / "pyproject.toml").read_text()
    assert text.count('"mine"]') == 2
    assert "@" not in "".join((small / "mine" / n).read_text() for n in ("MLproject", "conda.yml"))


@pytest.mark.integration
@pytest.mark.parametrize("language", LANGUAGES)
def test_in_each_language_it_makes_the_same_bytes(small, language, mlflow_run: Callable[..., Finished], tmp_path):
    if not shutil.which(LANGUAGES[language].tool):
        pytest.skip(f"{LANGUAGES[language].title} is not on this machine: there is no {LANGUAGES[language].tool}")
    new_step(small, "mine", "data_cleaning", language)
    (tmp_path / "in.csv").write_text(CSV, encoding="utf-8")
    done = mlflow_run(small / "mine", input=tmp_path / "in.csv")
    assert done.code == 0
    assert done.artifact("mine.csv").read_bytes() == WANTED.encode()
    assert done.run.data.metrics == {"rows_in": 5, "rows_out": 3}
    (read,) = done.run.inputs.dataset_inputs
    assert json.loads(read.dataset.source)["uri"] == str(tmp_path / "in.csv")

    (tmp_path / "in.csv").write_text('id,note\n1,"never closed\n', encoding="utf-8")
    done = mlflow_run(small / "mine", input=tmp_path / "in.csv")
    assert done.code != 0
    assert len([line for line in done.err.splitlines() if line.startswith("mine: ")]) == 1
    assert "Traceback" not in done.err and done.run.info.status == "FAILED"


@pytest.mark.integration
@pytest.mark.parametrize("language", ["python", "bash"])
def test_a_fresh_step_runs_in_the_pipeline_and_keeps_the_rules_of_the_house(project, run, manifest, language):
    assert run("python", "-m", "scaffold.new_step", "mine", "data_cleaning", language).code == 0
    steps = "steps=[data_download,data_cleaning,mine]"
    dry = run("python", "main.py", steps, "dry_run=true")
    assert dry.code == 0 and "mine" in dry.out
    assert run("python", "main.py", steps).code == 0
    made = manifest()["steps"]["mine"]
    assert made["state"] == "executed"
    assert made["metrics"]["rows_in"] == manifest()["steps"]["data_cleaning"]["metrics"]["rows_out"]
    assert run("python", "main.py", steps).code == 0
    assert manifest()["steps"]["mine"]["state"] == "reused"

    subprocess.run(["git", "init", "-q"], cwd=project, check=True)  # test_layout.py asks Git what there is
    rules = ["tests/test_layout.py", "tests/test_step_defaults.py", "tests/kit/test_kit.py", "tests/mine"]
    assert run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *rules).code == 0
    assert run("ruff", "check", "--no-cache", "mine", "tests/mine").code == 0
    assert run("ruff", "format", "--no-cache", "--check", "mine", "tests/mine").code == 0
    assert run("env", "MYPYPATH=mine", "mypy", "--cache-dir", "types", "mine").code == 0
    declared = "sed -n 's/^ *- \\([A-Za-z].*==.*\\)/\\1/p' conda.yml >declared"
    assert run("bash", "-c", f"cd mine && {declared} && deptry . --config ../pyproject.toml -rf declared").code == 0
