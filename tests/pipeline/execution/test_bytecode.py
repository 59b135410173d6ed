"""Byte-code linked into a new environment: of the same files, and of no others."""

import os
import py_compile
import subprocess
import sys
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from pipeline.execution.bytecode import link_bytecode

PACKAGES = Path("lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")


@pytest.fixture
def in_use(tmp_path: Path, monkeypatch) -> Path:
    """An environment on PATH, with one compiled module."""
    folder = tmp_path / "in_use"
    (folder / PACKAGES / "package").mkdir(parents=True)
    (folder / "pyvenv.cfg").touch()
    module = folder / PACKAGES / "package" / "module.py"
    module.write_text("NAME = 'module'")
    py_compile.compile(str(module))
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.fixture
def new(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    (folder / PACKAGES / "package").mkdir(parents=True)
    return folder


def test_the_same_file_gets_the_byte_code_and_python_takes_it(in_use, new):
    module = new / PACKAGES / "package" / "module.py"
    os.link(in_use / PACKAGES / "package" / "module.py", module)
    assert link_bytecode(new) == 1
    done = subprocess.run(
        [sys.executable, "-v", "-c", "import package.module"],
        env={"PYTHONPATH": str(module.parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{cache_from_source(str(module))} matches {module}" in done.stderr
    assert link_bytecode(new) == 0, "it is there already"


def test_another_file_gets_none_though_it_looks_alike(in_use, new):
    theirs, module = in_use / PACKAGES / "package" / "module.py", new / PACKAGES / "package" / "module.py"
    module.write_text("NAME = 'mOdule'")
    os.utime(module, ns=(theirs.stat().st_atime_ns, theirs.stat().st_mtime_ns))
    assert link_bytecode(new) == 0
    assert not Path(cache_from_source(str(module))).exists()


def test_an_environment_that_does_not_exist_or_shares_nothing_is_left_alone(in_use, new, tmp_path):
    (new / PACKAGES / "package" / "own.py").touch()
    assert link_bytecode(new) == 0
    assert link_bytecode(tmp_path / "nowhere") == 0
