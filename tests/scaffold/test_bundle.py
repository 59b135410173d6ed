"""What a bundle refuses: it is opened where nothing can be fetched to make up for a fault."""

import tarfile
from pathlib import Path

import pytest

from pipeline.errors import RequestError
from scaffold import bundle


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of one wheel."""
    monkeypatch.setattr(bundle, "BUILD", tmp_path / "build")
    folder = tmp_path / "made"
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "a.whl").write_bytes(b"wheel")
    (folder / bundle.SUMS).write_text(f"{bundle.sha256(folder / 'wheels' / 'a.whl')}  wheels/a.whl\n")
    return packed(folder, tmp_path / f"x-{bundle.platform()}.tar")


def packed(folder: Path, archive: Path) -> Path:
    with tarfile.open(archive, "w") as tar:
        tar.add(folder, arcname=".")
    return archive


def test_it_is_unpacked_whole(archive: Path):
    assert (bundle.unpack(archive) / "wheels" / "a.whl").read_bytes() == b"wheel"


def test_a_file_that_is_not_as_it_was_made_is_named(archive: Path, tmp_path: Path):
    (tmp_path / "made" / "wheels" / "a.whl").write_bytes(b"other")
    with pytest.raises(RequestError, match=r"wheels/a\.whl in .* is not as it was made; copy the archive again"):
        bundle.unpack(packed(tmp_path / "made", archive))


def test_one_for_another_platform_is_refused(archive: Path, tmp_path: Path):
    with pytest.raises(RequestError, match="is not for"):
        bundle.unpack(archive.rename(tmp_path / "x-other-py3.11.tar"))


def test_what_is_no_bundle_is_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bundle, "BUILD", tmp_path / "build")
    (tmp_path / "a.tar").write_text("no archive")
    with pytest.raises(RequestError, match="cannot be opened"):
        bundle.unpack(tmp_path / "a.tar")
