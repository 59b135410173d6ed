"""The code of a step as it ran, which can be had again of every run."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from pipeline.execution.snapshot import Snapshot, pack, unpack

FILES = {"run.py": b"print(1)\n", "sub/helper.py": b"", "räum lich.txt": "ü".encode(), "tool.sh": b"#!/bin/sh\n"}


def folder_with(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def kept(snapshot: Snapshot, path: Path) -> Path:
    file = path / snapshot.name
    file.write_bytes(snapshot.content)
    return file


def test_it_comes_back_as_it_was_and_what_else_lay_there_stays_away(tmp_path):
    folder = folder_with(tmp_path / "step", FILES | {"secret.txt": b"not part of the code"})
    (folder / "tool.sh").chmod(0o755)
    unpack(kept(pack(folder, FILES), tmp_path), tmp_path / "there")
    there = {
        p.relative_to(tmp_path / "there").as_posix(): p.read_bytes()
        for p in (tmp_path / "there").rglob("*")
        if p.is_file()
    }
    assert there == FILES
    assert os.access(tmp_path / "there" / "tool.sh", os.X_OK)
    assert not os.access(tmp_path / "there" / "run.py", os.X_OK)


def test_the_same_code_has_the_same_name_and_bytes_whoever_wrote_it_when(tmp_path):
    one, other = (folder_with(tmp_path / name, FILES) for name in ("one", "other"))
    os.utime(other / "run.py", (0, 0))
    (other / "run.py").chmod(0o600)
    assert pack(one, FILES) == pack(other, reversed(FILES))
    (other / "run.py").write_bytes(b"print(2)\n")
    assert pack(one, FILES).name != pack(other, FILES).name


@pytest.mark.parametrize("name", ["../out.py", "/tmp/out.py", ".", "sub/../../out.py"])  # noqa: S108 - must not be written
def test_nothing_is_written_outside_the_folder(tmp_path, name):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        tar.addfile(entry, io.BytesIO())
    digest = hashlib.sha256(made.getvalue()).hexdigest()
    snapshot = Snapshot(f"code-{digest}.tar.gz", gzip.compress(made.getvalue()))
    with pytest.raises(ValueError, match="no file below the step's folder"):
        unpack(kept(snapshot, tmp_path), tmp_path / "there")
    assert not (tmp_path / "out.py").exists()


def test_a_link_is_no_file_of_it(tmp_path):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        entry = tarfile.TarInfo("run.py")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(entry)
    digest = hashlib.sha256(made.getvalue()).hexdigest()
    with pytest.raises(ValueError, match="no file below the step's folder"):
        unpack(kept(Snapshot(f"code-{digest}.tar.gz", gzip.compress(made.getvalue())), tmp_path), tmp_path / "there")


def test_what_is_not_what_its_name_says_is_refused(tmp_path):
    good = pack(folder_with(tmp_path / "step", FILES), FILES)
    other = pack(tmp_path / "step", ["run.py"])
    for content in (other.content, good.content[:-20], b"none"):
        with pytest.raises(ValueError, match="not the archive that it is named after"):
            unpack(kept(Snapshot(good.name, content), tmp_path), tmp_path / "there")
