"""examples/languages: each program gives the bytes of the step that it stands for, and they run as a pipeline."""

import csv
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from batch_scoring import score_file
from clean_file import clean_file
from declaration import read_declaration
from saved_model import open_model
from scipy.special import expit
from table import REGRESSION

from tests.conftest import ROOT, served_folder
from tests.example_tables import rows, save_model, table

HERE = ROOT / "examples" / "languages"
CONFIG = yaml.safe_load((HERE / "config.yaml").read_text(encoding="utf-8"))
STEPS = CONFIG["pipeline"]
LANGUAGES = {
    "R": ["Rscript", "clean.R"],
    "bash": ["bash", "clean.sh"],
    "Node.js": ["node", "clean.js"],
    "Go": ["go", "run", "clean.go"],
    "Julia": ["julia", "clean.jl"],
}
MESSY = """\
\ufeffName,PassengerId,Survived,Pclass,Sex,Age,SibSp,Parch,Ticket,Fare,Cabin,Embarked,More\r
"Braund, Mr.  Owen\r
 ""Bo"" Harris ",1,0,3,Male,22.0,1,0,A/5  21171,7.2500,NA,s,x\r
"Zoë, Miss. Ü",2,1,1,FEMALE,.5,1,0,17599,071.2833,C85,C,\r
\r
"Again, Mr. A",2,1,1,male,+30,1,0,1,1.10,,C,\r
"Zoë, Miss. Ü",2,1,1,female,0.50,1,0,17599,71.2833,C85,C,y\r
"Wrong, Mr. B",3,1,1,dog,30,1,0,1,1,,C,\r
"Wrong, Mr. C",4,,1,male,30,1,0,1,1,,C,\r
"Wrong, Mr. D",5,1,1,male,old,1,0,1,1,,C,\r
"Wrong, Mr. E",6,1,1,male,30,1.5,0,1,1,,C,\r
"Ragged, Mr. F",7,1,1,male,30,1\r
"Wrong, Mr. G",,1,1,male,30,1,0,1,1,,C,\r
"Gap, Mr. H",8,1, 2 , male ,n/a,1,0,"1,2",0.0,?,Q,\r
"Last, Mr. ""I\""",9,0,3.0,female,-,2.0,0,"a ""b\""",1.,none,,x"""

pytestmark = pytest.mark.integration


def columns(step: str) -> str:
    """What the configuration tells a cleaning step of the table."""
    text = STEPS[step]["parameters"]["columns"].replace("${columns}", CONFIG["columns"])
    return text.replace("${features}", CONFIG["features"])


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program of a step with $STEP_OUTPUTS, which is `tmp_path`/made; skipped where its language is not here."""

    def start(step: str, *command: object) -> subprocess.CompletedProcess[str]:
        if not shutil.which(str(command[0])):
            pytest.skip(f"{command[0]} is not on this machine: examples/languages/README.md says what installs it")
        outputs = tmp_path / "made"
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir()
        return subprocess.run(
            [str(word) for word in command],
            cwd=HERE / step,
            env=os.environ | {"STEP_OUTPUTS": str(outputs)},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return start


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_cleaners_give_the_bytes_and_the_counts_of_data_cleaning(language, start, passenger_list, tmp_path):
    (tmp_path / "messy.csv").write_text(MESSY, encoding="utf-8", newline="")
    declared = read_declaration(ROOT / "dataset.yaml")
    for path, step in (
        (ROOT / "data" / "titanic_sample.csv", "clean"),
        (passenger_list, "clean"),
        (ROOT / "data" / "passengers_to_score.csv", "to_score"),
        (tmp_path / "messy.csv", "clean"),
    ):
        done = start("clean", *LANGUAGES[language], path, columns(step), 1)
        assert done.returncode == 0, done.stderr
        (tmp_path / "ours").mkdir(exist_ok=True)
        ours = clean_file(
            path, tmp_path / "ours", declared, require_target=step == "clean", max_rejected=1, profile=False
        )
        assert (tmp_path / "made" / "clean_data.csv").read_bytes() == (
            tmp_path / "ours" / "clean_data.csv"
        ).read_bytes(), path
        counted = yaml.safe_load((tmp_path / "made" / "metrics.json").read_text())
        assert counted == {name: ours.checks.metrics()[name] for name in counted}
        assert len(counted) == 4


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_cleaner_cannot_take_is_one_sentence(language, start, tmp_path):
    (tmp_path / "in.csv").write_text("id,kind\n1,a\n2,b\n3,x\n")
    (tmp_path / "open.csv").write_text('id,kind\n1,"never\n')
    (tmp_path / "empty.csv").touch()
    for name, declared, said in (
        ("in.csv", "id:key kind:a|b", "in.csv: 1 of 3 rows were rejected, more than max_rejected=0.05; correct them"),
        ("in.csv", "key:key", "in.csv has no column key; it has id, kind"),
        ("open.csv", "id:key", "open.csv"),
        ("empty.csv", "id:key", "empty.csv is empty; give a CSV file with a header"),
    ):
        done = start("clean", *LANGUAGES[language], tmp_path / name, declared, 0.05)
        lines = [line for line in done.stderr.splitlines() if not line.startswith("exit status")]  # of `go run`
        assert done.returncode == 1
        assert len(lines) == 1 and lines[0].startswith(said)


@pytest.fixture(scope="module")
def download(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled download."""
    curl = ["g++", "-E", "-x", "c++", "-include", "curl/curl.h", os.devnull]
    if not shutil.which("g++") or subprocess.run(curl, capture_output=True).returncode:
        pytest.skip("g++ or libcurl's headers are not on this machine: examples/languages/README.md says what has them")
    program = tmp_path_factory.mktemp("compiled") / "download"
    source = HERE / "download" / "download.cpp"
    subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", "-o", program, source, "-lcurl"], check=True)
    return program


def test_the_download_keeps_the_bytes_whatever_the_kind_of_address(download, start, tmp_path):
    source = tmp_path / "a table, with ü & 100%.csv"
    source.write_bytes((ROOT / "data" / "titanic_sample.csv").read_bytes())
    with served_folder(ROOT / "data") as address:
        for given in (source, source.as_uri(), f"{address}/titanic_sample.csv"):
            done = start("download", download, given, 1 << 30, 60)
            assert done.returncode == 0, done.stderr
            made = tmp_path / "made"
            assert (made / "data.csv").read_bytes() == source.read_bytes()
            assert yaml.safe_load((made / "metrics.json").read_text()) == {"lines": 901, "bytes": 64182}
            assert yaml.safe_load((made / "dataset.json").read_text()) == {"source": str(given), "path": "data.csv"}


def test_a_download_that_cannot_be_is_one_sentence(download, start, tmp_path):
    (tmp_path / "page.csv").write_text("no table at all\n")
    with served_folder(tmp_path) as address:
        for given, most, said in (
            (tmp_path / "nowhere.csv", 1000, "check data_url"),
            (f"{address}/nowhere.csv", 1000, "404"),
            ("gopher://example.com/x", 1000, "check data_url"),
            (tmp_path / "page.csv", 1000, "one column only"),
            (ROOT / "data" / "titanic_sample.csv", 1000, "larger than max_bytes=1000"),
        ):
            done = start("download", download, given, most, 60)
            assert done.returncode == 1
            assert done.stderr.startswith(f"{given} could not be downloaded: ") and done.stderr.count("\n") == 1
            assert said in done.stderr


def test_java_writes_probabilities_to_the_digit_as_python_does(start, tmp_path):
    sums = [-40, -23.5, -20, -9.6, -9.21034, -5, -0.5, 0, 1e-9, 0.1, 3, 22, 40]
    model = "kind,column,fill,value,pattern,weight\nkey,id,,,,\ntarget,out,,,,\nnegative,,,no,,\npositive,,,yes,,\n"
    (tmp_path / "model.csv").write_text(model + "number,x,0,,,2\nintercept,,,,,0\n")
    (tmp_path / "in.csv").write_text("id,x\n" + "".join(f"{n},{one / 2!r}\n" for n, one in enumerate(sums)))
    done = start("score", "java", "Score.java", tmp_path / "model.csv", tmp_path / "in.csv")
    assert done.returncode == 0, done.stderr
    expected = [[str(n), "yes" if one > 0 else "no", repr(round(float(expit(one)), 10))] for n, one in enumerate(sums)]
    with (tmp_path / "made" / "predictions.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["id", "out", "probability"], *expected]


def test_java_says_what_it_cannot_use_in_one_sentence(start, tmp_path):
    (tmp_path / "model.csv").write_text("kind,column,fill,value,pattern,weight\nnumber,x,0,,,2\n")
    (tmp_path / "in.csv").write_text("id,y\n1,2\n")
    done = start("score", "java", "Score.java", tmp_path / "model.csv", tmp_path / "in.csv")
    assert (done.returncode, done.stderr) == (1, "there is no column x, which the model reads\n")


def test_a_model_that_has_no_portable_form_is_refused_in_one_sentence(mlflow_run, tmp_path):
    done = mlflow_run(
        HERE / "portable_model", model=save_model(tmp_path / "model", table(REGRESSION), rows(REGRESSION))
    )
    assert done.code != 0 and "Traceback" not in done.err
    assert "portable_model: the model is for the task regression; give one for two classes" in done.err


def needed() -> Iterator[str]:
    """The programs that the pipeline's toolchains name."""
    for block in STEPS.values():
        yield from block.get("toolchain", ())


def test_the_pipeline_runs_and_java_predicts_what_python_predicts(project, run, download, store, tmp_path):
    """`download` is asked for because it is skipped without libcurl."""
    if missing := sorted({tool for tool in needed() if not shutil.which(tool)}):
        pytest.skip(f"not on this machine: {', '.join(missing)}; examples/languages/README.md says what installs them")
    done = run("python", "main.py", "--config-dir", "examples/languages")
    assert done.code == 0, done.err
    outputs = project / "examples" / "languages" / "outputs"
    manifest = yaml.safe_load((outputs / "manifest.json").read_text())["steps"]
    made = {manifest[name]["outputs"]["clean_data.csv"] for name in STEPS if name.startswith("clean")}
    assert len(made) == 1, "four languages, the same bytes"
    assert "warning" not in done.out, "no step leaves anything in its folder"
    (tmp_path / "ours").mkdir()
    clean_file(
        ROOT / "data" / "passengers_to_score.csv",
        tmp_path / "ours",
        read_declaration(ROOT / "dataset.yaml"),
        require_target=False,
        profile=False,
    )
    model = open_model(f"models:/{read_declaration(ROOT / 'dataset.yaml').name}@champion")
    score_file(tmp_path / "ours" / "clean_data.csv", tmp_path / "ours" / "predictions.csv", model)
    assert (outputs / "predictions.csv").read_bytes() == (tmp_path / "ours" / "predictions.csv").read_bytes()
    with (outputs / "predictions.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 201
    again = run("python", "main.py", "--config-dir", "examples/languages", "dry_run=true")
    assert "execute" not in again.out
