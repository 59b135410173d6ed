"""A digest changes when what decides a result changes, and not otherwise."""

import subprocess
from pathlib import Path

import pytest

from pipeline.config import Step
from pipeline.errors import RequestError
from pipeline.files import content_digest
from pipeline.planning import fingerprint
from pipeline.planning.fingerprint import Fingerprint, environment_of, folder_files, folders_files
from pipeline.planning.project import load_all

MLMODEL = (
    "flavors:\n  sklearn: {{version: {version}}}\nmodel_uuid: {uuid}\nrun_id: {uuid}\nutc_time_created: '{uuid}'\n"
)


def model(folder: Path, uuid: str, version: str = "1") -> Path:
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL.format(uuid=uuid, version=version))
    (folder / "model.skops").write_bytes(b"weights")
    return folder


def test_a_model_counts_without_what_mlflow_stamps_on_it(tmp_path):
    a, b, other = (model(tmp_path / n, *v) for n, v in {"a": ("1",), "b": ("2",), "other": ("1", "2")}.items())
    assert content_digest(a) == content_digest(b) != content_digest(other)
    (b / "registered_model_meta").write_text("written by MLflow when somebody fetches it")
    assert content_digest(a) == content_digest(b)
    (b / "model.skops").write_bytes(b"other weights")
    assert content_digest(a) != content_digest(b)


def test_a_damaged_mlmodel_is_digested_as_bytes(tmp_path):
    (tmp_path / "MLmodel").write_text("{ not yaml")
    assert len(content_digest(tmp_path)) == 64


def test_a_folder_counts_by_names_and_contents(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x").write_text("1")
    before = content_digest(tmp_path / "f")
    (tmp_path / "f" / "x").rename(tmp_path / "f" / "y")
    assert content_digest(tmp_path / "f") != before


def test_byte_code_stores_and_what_git_ignores_are_no_part_of_a_step(tmp_path):
    for name in ("run.py", "__pycache__/run.pyc", "mlflow.db", ".DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert set(folder_files(tmp_path)) == {"run.py"}


def test_of_many_folders_git_leaves_out_what_it_leaves_out_of_each_alone(tmp_path):
    names = (".gitignore a/.gitignore a/x.log a/run.py a/deep/ä_b.tmp b/run.py b/x.log far/d/x.log "
             "nested/.gitignore nested/c/run.py nested/c/y.dat nested/c/x.log")  # fmt: skip
    for name in names.split():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / ".gitignore").write_text("*.tmp\n/b/x.log\n")
    (tmp_path / "a" / ".gitignore").write_text("*.log\n")
    (tmp_path / "nested" / ".gitignore").write_text("*.dat\n")
    (tmp_path / "linked").symlink_to("b")
    (tmp_path / "b" / "behind").symlink_to("../a")
    for tree in (".", "nested"):
        subprocess.run(["git", "init", "--quiet"], cwd=tmp_path / tree, check=True)
    folders = [tmp_path / name for name in ("a", "b", "nested/c", "linked", "far/d", "gone")]
    found = folders_files(folders)
    assert {folder.name: sorted(files) for folder, files in found.items()} == {
        "a": [".gitignore", "run.py"],
        "b": ["behind/.gitignore", "behind/deep/ä_b.tmp", "behind/run.py", "behind/x.log", "run.py"],
        "c": ["run.py", "x.log"],
        "linked": ["behind/.gitignore", "behind/deep/ä_b.tmp", "behind/run.py", "behind/x.log", "run.py"],
        "d": ["x.log"],
        "gone": [],
    }
    assert found == {folder: folder_files(folder) for folder in folders}
    (tmp_path / ".git" / "HEAD").write_text("broken")  # Git fails there
    assert "x.log" in folders_files(folders)[tmp_path / "a"]
    assert sorted(folders_files(folders)[tmp_path / "nested" / "c"]) == ["run.py", "x.log"]


def test_git_is_asked_once_for_all_steps(tmp_path, monkeypatch):
    asked = []
    run = subprocess.run
    monkeypatch.setattr(fingerprint.subprocess, "run", lambda *a, **more: asked.append(a) or run(*a, **more))
    run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    for number in range(20):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "run.py").write_text("x")
    assert len(folders_files(tmp_path / str(number) for number in range(20))) == 20
    assert len(asked) == 1


def test_a_part_too_large_to_keep_still_tells_that_it_changed():
    many = {f"file{i}.py": "0" * 64 for i in range(200)}
    a, b = Fingerprint(code=many), Fingerprint(code=many | {"file0.py": "1" * 64})
    assert len(a.code) == 1
    assert a.digest != b.digest
    assert b.differences(a, {}) == ["its code changed: changed …"]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution with these lines in its RECORD, on Python's path; what the environment then is."""
    monkeypatch.setattr("sys.path", [str(tmp_path)])

    def install(*record: str) -> dict[str, str]:
        folder = tmp_path / "plain-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        again = folder / "new"  # as installers do: another file takes the place
        again.write_text("\n".join([*record, "plain-1.0.dist-info/RECORD,,"]))
        again.replace(folder / "RECORD")
        return environment_of("local", "local", {})

    return install


def test_the_same_version_with_other_bytes_is_another_environment(installed):
    first = installed("plain/__init__.py,sha256=aaa,20")
    assert first["plain"] == "1.0"
    second = installed("plain/__init__.py,sha256=bbb,20")
    assert {key for key in first if first[key] != second[key]} == {"installed files"}
    assert installed("plain/__init__.py,sha256=aaa,20") == first


def test_who_installed_it_and_where_makes_no_other_environment(installed):
    by_one = installed("../../../bin/plain,sha256=ccc,300", "plain/a.py,sha256=aaa,20", "plain/b.py,sha256=bbb,20")
    by_other = installed(
        "plain/b.py,sha256=bbb,20",
        "plain/a.py,sha256=aaa,20",
        "plain/__pycache__/a.cpython-311.pyc,,",
        "plain-1.0.dist-info/INSTALLER,sha256=ddd,3",
        "../../../bin/plain,sha256=eee,301",
    )
    assert by_one == by_other


def tool(path: Path, asked_by: str, version: str) -> None:
    """A program that says its version where it is asked in its own way, and nothing else."""
    path.write_text(f'#!/bin/sh\n[ "$1" = "{asked_by}" ] && echo "{version}" || {{ echo "what?" >&2; exit 2; }}\n')
    path.chmod(0o755)


@pytest.mark.parametrize("asked_by", ["--version", "version", "-version"])
def test_another_version_of_a_tool_is_another_environment(asked_by, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = []
    for version in ("smith 1", "smith 2"):
        tool(tmp_path / "smith", asked_by, version)
        fingerprint.tool_version.cache_clear()
        found.append(Fingerprint(environment=environment_of("uv", "local", {}, ["smith"])))
    assert found[0].digest != found[1].digest
    assert found[1].differences(found[0], {}) == ["its environment changed: toolchain.smith smith 1 → smith 2"]


def test_a_tool_that_is_not_there_is_said_before_anything_is_started(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "MLproject").write_text("entry_points: {main: {command: smith}}")
    with pytest.raises(RequestError) as error:
        load_all([Step("a", toolchain=("sh", "no-such-smith"))], tmp_path, tmp_path / "clones")
    (said,) = error.value.problems
    assert said.startswith("step a: there is no program 'no-such-smith' on the PATH") and "pipeline.a.toolchain" in said
