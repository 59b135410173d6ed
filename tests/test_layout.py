"""The rules of the house that a machine can check: layers, environments, names."""

import ast
import hashlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from scaffold import locks
from tests.conftest import ROOT

STEPS = sorted(path.parent.name for path in ROOT.glob("*/MLproject"))
ENVIRONMENTS = [path.relative_to(ROOT).as_posix() for path in locks.environments(ROOT)]
LOCKS = [*(path.name for path in ROOT.glob("requirements-*.lock")), *(f"{name}/{locks.LOCK}" for name in ENVIRONMENTS)]
PIPELINE = sorted((ROOT / "pipeline").rglob("*.py"))


def imported(file: Path) -> set[str]:
    """The top-level names that a file imports, with `pipeline.x` and `mlflow.x` in full."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def pins(folder: str) -> set[str]:
    environment = yaml.safe_load((ROOT / folder / "conda.yml").read_text())
    assert [d for d in environment["dependencies"] if isinstance(d, str)] == ["python=3.11", "pip"]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert pip[0] == "-r requirements.lock", "where a package is named first is where pip takes its hashes from"
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+==[\w.]+", line) for line in pip[1:]), pip
    return set(pip[1:])


def lock(folder: str) -> set[str]:
    return locks.locked((ROOT / folder / locks.LOCK).read_text())


def test_the_steps_are_those_of_the_configuration():
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    blocks = config["pipeline"]

    def folder(name: str) -> str:
        return folder(blocks[name]["extends"]) if "extends" in blocks[name] else blocks[name].get("uri", name)

    folders = {name: folder(name) for name in blocks}
    assert set(folders.values()) == set(STEPS)
    assert set(folders) >= set(STEPS), "each has a block of its own name"


@pytest.mark.parametrize("step", STEPS)
def test_a_step_imports_neither_the_pipeline_nor_another_step(step):
    own = {path.stem for path in (ROOT / step).glob("*.py")}
    others = {path.stem for other in STEPS if other != step for path in (ROOT / other).glob("*.py")} - own
    for file in (ROOT / step).rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(file)}
        assert not tops & ({"pipeline", *STEPS} | others), file


def test_the_pipeline_imports_no_step_and_knows_no_word_of_the_data():
    modules = {path.stem for step in STEPS for path in (ROOT / step).glob("*.py")}
    for file in PIPELINE:
        assert not {name.split(".")[0] for name in imported(file)} & (modules | set(STEPS)), file
        words = re.findall(
            r"(?i)titanic|passenger|survived|" + "|".join(s for s in STEPS if "_" in s), file.read_text()
        )
        assert not words, (file, words)


def test_mlflow_is_spoken_to_in_few_places():
    speaking = {f for f in PIPELINE if any(name.split(".")[0] == "mlflow" for name in imported(f))}
    outside = {f.relative_to(ROOT / "pipeline").as_posix() for f in speaking if f.parent.name != "tracking"}
    speakers = ("worker", "mlflow_internals", "step_outputs", "slurm_backend")
    assert outside == {f"execution/{name}.py" for name in speakers}


@pytest.mark.parametrize("step", STEPS)
def test_local_mode_has_the_versions_of_every_step(step):
    assert pins(step) <= pins(".")
    assert pins(step) <= lock(step) <= lock(".")


@pytest.mark.parametrize("folder", ENVIRONMENTS)
def test_an_environment_has_the_roots_versions_but_where_it_says_so(folder):
    conda, ours, roots = (ROOT / folder / "conda.yml").read_text(), lock(folder), lock(".")
    both = {pin.partition("==")[0] for pin in ours} & {pin.partition("==")[0] for pin in roots}
    same = {pin.partition("==")[0] for pin in ours & roots}  # on one system: there may be another version on Windows
    assert both - same == set(locks.of_its_own(conda))


def of_pytorch(folder: Path) -> bool:
    """Whether an environment has PyTorch, of which each kind of machine has another build: none has hashes for all."""
    conda = folder / "conda.yml"
    return conda.is_file() and "      - torch==" in conda.read_text()


@pytest.mark.parametrize("file", [file for file in LOCKS if not of_pytorch((ROOT / file).parent)])
def test_every_line_of_a_lock_is_a_version_with_hashes_and_no_address(file):
    entry = r"[A-Za-z0-9._-]+(\[[\w,-]+\])?==[\w.!+]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(f"({entry})+", (ROOT / file).read_text())


@pytest.mark.parametrize("folder", ENVIRONMENTS)
def test_an_environment_is_another_whenever_its_lock_is(folder):
    """MLflow goes by the text of conda.yml alone when it asks whether a conda environment is still the right one."""
    conda, lock = (ROOT / folder / "conda.yml").read_text(), (ROOT / folder / locks.LOCK).read_text()
    if of_pytorch(ROOT / folder):
        assert "- -c requirements.lock\n" in conda and "--hash" not in lock
    else:
        assert f"- -r requirements.lock # sha256:{hashlib.sha256(lock.encode()).hexdigest()}\n" in conda, (
            "run make lock"
        )
    assert set(locks.declared(conda)) <= locks.locked(lock), "run make lock"


@pytest.mark.parametrize("folder", [".", *STEPS])
def test_every_parameter_is_described_and_its_placeholder_is_bare(folder):
    for name, entry in yaml.safe_load((ROOT / folder / "MLproject").read_text())["entry_points"].items():
        for parameter, spec in entry["parameters"].items():
            assert len(spec["description"]) > 15, f"{folder} -e {name}: {parameter}"
            assert f"{{{parameter}}}" in entry["command"]
        assert not re.search(r"""['"]\{|\}['"]""", entry["command"]), "quotes would undo MLflow's own quoting"


def test_nothing_of_this_machine_is_in_the_repository():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file() and path.suffix not in (".png", ".csv"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"(--(extra-)?index-url|--find-links)\s", text) or path == Path(__file__), name
            assert not re.search(r"/(root|home/[a-z]+)/[a-z.]", text), name
