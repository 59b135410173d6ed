"""`make new`: a repository of one's own, in which nothing of ours is left and everything runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from declaration import read_declaration

from pipeline.errors import RequestError
from scaffold.new_project import CHANGES, LEFT_OUT, customers, main, new_project, staying
from tests.conftest import ROOT
from tests.pages import failing, set_up


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def churn(tmp_path_factory) -> Path:
    return new_project(ROOT, str(tmp_path_factory.mktemp("new") / "churn"))


def texts(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text(encoding="utf-8") for name in git(folder, "ls-files").split("\n") if name}


def test_it_is_a_repository_with_one_commit_and_nothing_uncommitted(churn):
    assert git(churn, "log", "--format=%s").split("\n") == ["Begin churn", ""]
    assert git(churn, "status", "--short", "--ignored") == ""
    assert list(churn.parent.iterdir()) == [churn], "nothing lies beside it"


def test_no_word_of_our_data_is_left(churn):
    found = texts(churn)
    assert [name for name in found if re.search("titanic|passenger", name, re.IGNORECASE)] == []
    assert [name for name, text in found.items() if re.search("titanic|passenger", text, re.IGNORECASE)] == []


def test_our_data_benchmarks_and_prose_are_not_in_it(churn):
    found = texts(churn)
    assert not any(name.startswith(("benchmarks/", "docs/decisions/", "CHANGELOG", "CITATION")) for name in found)
    assert {name for name in found if name.startswith("data/")} == {
        "data/customers.csv",
        "data/customers_to_score.csv",
    }
    assert "scaffold/new_project.py" not in found


def test_what_stays_is_byte_for_byte_ours_but_for_words(churn):
    for name in ("main.py", "pipeline/session.py", "kit/declaration.py", "requirements.lock", "LICENSE"):
        assert (churn / name).read_bytes() == (ROOT / name).read_bytes(), name
    assert os.access(churn / ".ci" / "run", os.X_OK)


def test_it_has_the_newcomers_name(churn):
    assert yaml.safe_load((churn / "MLproject").read_text())["name"] == "churn"
    assert yaml.safe_load((churn / "conda.yml").read_text())["name"] == "churn"
    assert read_declaration(churn / "dataset.yaml").name == "churn"
    assert (churn / "README.md").read_text().startswith("# churn\n")
    models = re.findall(r"([\w-]+)@champion", (churn / "config.yaml").read_text())
    assert set(models) <= {"churn"}


def test_its_site_names_no_page_that_is_not_in_it(churn):
    pages = re.findall(r"(?m)^ +- ([\w./-]+\.md)$", (churn / "mkdocs.yml").read_text())
    assert "docs/running.md" in pages
    assert [page for page in pages if not (churn / page).is_file()] == []


def test_its_pages_name_no_target_that_its_makefile_has_not(churn):
    there = set(re.findall(r"(?m)^([a-z-]+):", (churn / "Makefile").read_text()))
    pages = "".join(path.read_text(encoding="utf-8") for path in (churn / "docs").glob("*.md"))
    assert set(re.findall(r"`make ([a-z-]+)", pages)) - there == set()


def test_its_table_is_the_one_that_it_declares(churn):
    table = read_declaration(churn / "dataset.yaml")
    rows = table.read(churn / "data" / "customers.csv")
    assert len(rows) == 300
    assert 0.3 < rows["churned"].mean() < 0.7
    to_score = table.read(churn / "data" / "customers_to_score.csv", target="none")
    assert not set(rows["customer"]) & set(to_score["customer"])
    assert list(customers(5)) == list(customers(5))
    config = yaml.safe_load((churn / "config.yaml").read_text())
    assert (config["data_url"], config["current"]) == ("data/customers.csv", "data/customers_to_score.csv")


def test_its_files_say_nothing_of_files_that_it_has_not(churn):
    found = texts(churn)
    makefile = found["Makefile"]
    assert not re.search(r"benchmarks/|CITATION|ISSUE_TEMPLATE|new_project|\bbench\b", makefile)
    phony = re.search(r"^\.PHONY:(.*)", makefile, re.MULTILINE)[1].split()
    assert set(phony) == set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) - {"mlflow"}
    pages = [name for name in found if name.endswith(".md")]
    for page in pages:
        targets = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", found[page]) if "://" not in link]
        assert [target for target in targets if not ((churn / page).parent / target).exists()] == [], page
    for name in filter(re.compile(r"tests/.*\.py").fullmatch, found):
        for module in re.findall(r"^from (tests[\w.]+) import", found[name], re.MULTILINE):
            assert f"{module.replace('.', '/')}.py" in found, name


def test_every_change_that_is_to_be_made_finds_its_place():
    for file, changes in CHANGES.items():
        for pattern, _ in changes:
            assert re.search(pattern, (ROOT / file).read_text()), (file, pattern)
    tracked = git(ROOT, "ls-files").split("\n")
    assert [one for one in LEFT_OUT if not any(name.startswith(one) for name in tracked)] == []


def test_tests_of_our_data_stay_here_with_those_that_need_them(tmp_path):
    texts = {
        "tests/conftest.py": "TITANIC = 1\n",
        "tests/sub/conftest.py": "from tests.helper import x\n",
        "tests/sub/test_a.py": "",
        "tests/helper.py": "from make_sample import rows\n",
        "tests/test_b.py": "from tests.helper import x\n",
        "tests/test_c.py": "passenger = 1\n",
        "run.py": "real_list = 1\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert set(staying(tmp_path, list(texts))) == {"tests/conftest.py", "tests/test_c.py", "run.py"}


@pytest.mark.parametrize(
    ("folder", "name", "said"),
    [
        ("", "", "FOLDER is missing: make new FOLDER="),
        ("full", "", "FOLDER=full is there already, and not empty"),
        ("file", "", "FOLDER=file is there already, and not empty"),
        ("2nd", "", "NAME='2nd' is no name for a model"),
        ("new", "über", "NAME='über' is no name for a model"),
        ("new", "a b", "NAME='a b' is no name for a model"),
        ("new", "yes", "NAME='yes' is no name for a model"),
        (str(ROOT / "inside"), "", "is inside this repository; choose one beside it, such as ../inside"),
        ("file/new", "", "FOLDER=file/new cannot be made (File exists: "),
    ],
)
def test_a_wrong_request_is_one_sentence_and_nothing_is_made(tmp_path, monkeypatch, capsys, folder, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full" / "of").mkdir(parents=True)
    (tmp_path / "file").touch()
    assert main([folder, name]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err
    assert {path.name for path in tmp_path.rglob("*")} == {"full", "of", "file"}


def test_without_git_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RequestError, match="git is not on the PATH; install it"):
        new_project(ROOT, str(tmp_path / "new"))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_and_somebody_whom_git_does_not_know_will_do(tmp_path, monkeypatch):
    for variable in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(variable, os.devnull)
    (tmp_path / "new").mkdir()
    assert main([str(tmp_path / "new"), "my-model_2.0"]) == 0
    assert git(tmp_path / "new", "log", "--format=%an %s") == "my-model_2.0 Begin my-model_2.0\n"
    assert read_declaration(tmp_path / "new" / "dataset.yaml").name == "my-model_2.0"


def test_it_needs_nothing_but_the_standard_library(tmp_path):
    """A newcomer has no environment yet."""
    command = [sys.executable, "-S", "-m", "scaffold.new_project", str(tmp_path / "new")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"cd {tmp_path / 'new'} && make run\n")


@pytest.mark.integration
def test_its_style_and_types_are_those_of_ours(churn):
    for command in ("ruff check --no-cache .", "ruff format --no-cache --check .", "lint-imports --no-logo --no-cache"):
        done = subprocess.run(command.split(), cwd=churn, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.integration
def test_it_runs_and_its_own_tests_pass_in_it(tmp_path):
    """Those of what is its own; the others are ours, and run here."""
    churn = new_project(ROOT, str(tmp_path / "churn"))
    set_up(churn)
    tests = "tests/test_layout.py tests/test_step_defaults.py tests/test_run.py tests/kit"
    quick = f"python -m pytest -q -p no:cacheprovider {tests}"
    assert failing(churn, ["make run ENV_MANAGER=local", quick], timeout=900) == []
    assert {row.split(",")[0] for row in (churn / "outputs" / "predictions.csv").read_text().splitlines()[1:]} == {
        str(number) for number in range(301, 401)
    }
