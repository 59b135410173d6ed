"""What a process that was killed has left is cleared by the next one; what a living one owns is let be."""

import os
import subprocess
import sys

import pytest

from pipeline import files
from pipeline.files import UNFINISHED, clear_abandoned, owned, write_atomically
from tests.conftest import ROOT

OWNS = """
import sys, time
from pathlib import Path
from pipeline.files import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def nothing_is_just_made(monkeypatch):
    monkeypatch.setattr(files, "JUST_MADE", -60)


def test_what_a_living_process_owns_is_let_be_until_it_is_killed(tmp_path):
    folder, file = tmp_path / "pipeline-a", tmp_path / "pipeline-b"
    (folder / "inside").mkdir(parents=True)
    file.touch()
    (tmp_path / "mine").touch()
    command = [sys.executable, "-c", OWNS, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout.readline() == b"owned\n"
        clear_abandoned(tmp_path, "pipeline-")
        assert folder.is_dir()
        assert not file.exists(), "nobody owns it"
        process.kill()
    clear_abandoned(tmp_path, "pipeline-")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_was_just_made_may_not_be_owned_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "JUST_MADE", 60)
    (tmp_path / "pipeline-a").mkdir()
    clear_abandoned(tmp_path, "pipeline-")
    assert (tmp_path / "pipeline-a").is_dir()


def test_two_that_own_the_same_do_not_wait_for_each_other(tmp_path):
    with owned(tmp_path), owned(tmp_path):
        pass


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "pipeline-a").symlink_to(tmp_path / "kept")
    clear_abandoned(tmp_path, "pipeline-")
    assert (tmp_path / "kept").is_dir()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    file = tmp_path / "manifest.json"
    write_atomically(file, "one")
    write_atomically(file, "two")
    assert file.read_text() == "two"
    file.unlink()
    file.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(file, "three")
    assert not list(tmp_path.glob(f"{UNFINISHED}*"))
