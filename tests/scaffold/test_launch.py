"""kit/launch.py: a program of any language as a step."""

import runpy
import shutil
import sys
from pathlib import Path

import mlflow
import pytest

from tests.conftest import ROOT


@pytest.fixture
def launch(store, tmp_path, monkeypatch):
    """Run a source as the step `shout`, with these arguments; the exit code and the run."""
    folder = tmp_path / "shout"
    folder.mkdir()
    for name in ("launch.py", "step_outputs.py"):
        shutil.copy(ROOT / "kit" / name, folder)
    monkeypatch.chdir(folder)

    def launch(tool: str, source: str, *arguments: object):
        name = "step.cpp" if tool == "g++" else "step.sh"
        Path(name).write_text(source)
        monkeypatch.setattr(sys, "argv", ["launch.py", tool, name, *map(str, arguments)])
        code = runpy.run_path(str(folder / "launch.py"))["main"]()
        (run,) = mlflow.search_runs(search_all_experiments=True, max_results=1, output_format="list")
        return code, run

    return launch


def artifacts(run) -> set[str]:
    return {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}


def test_what_it_writes_is_logged_and_its_folder_stays_as_it_was(launch, tmp_path, capfd):
    (tmp_path / "in.csv").write_text("a\n1\n")
    source = """
        echo working; echo careful >&2
        mkdir "$STEP_OUTPUTS/deep"; cp "$1" "$STEP_OUTPUTS/deep/out.csv"; echo "$2" >"$STEP_OUTPUTS/text"
        echo '{"rows": 1, "share": 0.5}' >"$STEP_OUTPUTS/metrics.json"
    """
    code, run = launch("bash", source, tmp_path / "in.csv", "x; y $(z)")
    assert code == 0 and run.info.status == "FINISHED"
    assert capfd.readouterr() == ("working\n", "careful\n")
    assert artifacts(run) == {"deep", "text"}, "metrics.json became metrics"
    assert run.data.metrics == {"rows": 1, "share": 0.5}
    text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/text")
    assert text == "x; y $(z)\n", "an argument is text, whatever is in it"
    assert run.data.tags["toolchain"].startswith("GNU bash")
    assert [one.dataset.name for one in run.inputs.dataset_inputs] == ["in.csv"]
    assert {path.name for path in Path.cwd().iterdir()} == {"launch.py", "step_outputs.py", "step.sh"}


def test_tags_and_the_data_that_it_read_are_recorded(launch):
    source = """
        echo 1 >"$STEP_OUTPUTS/data.csv"
        echo '{"data.source": "a shop"}' >"$STEP_OUTPUTS/tags.json"
        echo '{"source": "https://example.com/shop.csv", "path": "data.csv"}' >"$STEP_OUTPUTS/dataset.json"
    """
    code, run = launch("bash", source)
    assert code == 0 and run.info.status == "FINISHED"
    assert artifacts(run) == {"data.csv"}
    assert run.data.tags["data.source"] == "a shop"
    (read,) = run.inputs.dataset_inputs
    assert read.dataset.name == "data.csv" and "https://example.com/shop.csv" in read.dataset.source


def test_what_stands_behind_the_tool_is_handed_to_it(launch):
    code, run = launch("bash -e", 'false; echo x >"$STEP_OUTPUTS/out"')
    assert code == 1 and artifacts(run) == set()


def test_its_exit_code_and_last_words_are_the_steps_and_nothing_is_logged(launch, capfd):
    code, run = launch("bash", 'echo x >"$STEP_OUTPUTS/half"; echo first >&2; echo "no such shop" >&2; exit 7')
    assert code == 7 and run.info.status == "FAILED"
    assert artifacts(run) == set()
    assert capfd.readouterr().err.endswith("first\nshout: no such shop\n")


@pytest.mark.parametrize(
    ("tool", "source", "code", "said"),
    [
        ("bash", "exit 3", 3, "step.sh ended with exit code 3, and did not say why"),
        ("bash", "kill -9 $$", 137, "step.sh was ended by SIGKILL, and did not say why"),
        ("no-such-tool", "", 1, "no-such-tool cannot be started (No such file or directory); install it"),
        ("bash", 'echo {bad >"$STEP_OUTPUTS/metrics.json"', 1, "its metrics.json is not of the form"),
        ("bash", 'echo "{\\"a\\": NaN}" >"$STEP_OUTPUTS/metrics.json"', 1, "its metrics.json is not of the form"),
        ("bash", 'echo "[1]" >"$STEP_OUTPUTS/metrics.json"', 1, "its metrics.json is not of the form"),
        ("bash", 'echo "{\\"a\\": 1}" >"$STEP_OUTPUTS/tags.json"', 1, "its tags.json is not of the form"),
        ("bash", 'echo "{\\"path\\": \\"x\\"}" >"$STEP_OUTPUTS/dataset.json"', 1, "its dataset.json is not of"),
        ("bash", 'printf \'{"source": "s", "path": "/etc/hosts"}\' >"$STEP_OUTPUTS/dataset.json"', 1, "of an output"),
        pytest.param(
            "g++",
            "int main() { return nothing; }",
            1,
            "step.cpp does not compile: step.cpp:1:21: error: ",
            marks=pytest.mark.skipif(shutil.which("g++") is None, reason="C++ is not on this machine: there is no g++"),
        ),
    ],
)
def test_what_goes_wrong_is_one_sentence(launch, capfd, tool, source, code, said):
    ended, run = launch(tool, source)
    last = capfd.readouterr().err.splitlines()[-1]
    assert ended == code and run.info.status == "FAILED"
    assert last.startswith("shout: ") and said in last
    assert artifacts(run) == set()
