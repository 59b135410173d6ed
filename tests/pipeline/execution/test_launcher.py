"""What is imported before steps are forked."""

import subprocess
import sys
from importlib import metadata

from pipeline.execution.launcher import entry_points_read_once


def test_entry_points_are_read_once_and_are_the_same_as_ever(monkeypatch):
    read, looked = metadata.entry_points, []
    pytest_s = read(group="pytest11")
    assert pytest_s, "this test would prove nothing"
    monkeypatch.setattr(metadata, "entry_points", lambda **wanted: looked.append(wanted) or read(**wanted))
    with entry_points_read_once():
        kept = metadata.entry_points
        assert tuple(kept(group="pytest11")) == tuple(pytest_s)
        script = {"group": "console_scripts", "name": "mlflow"}
        assert tuple(kept(**script)) == tuple(read(**script)) != ()
        assert not kept(group="nobody's")
    assert looked == [{}]
    assert metadata.entry_points is not kept
    assert tuple(kept(group="pytest11")) == tuple(pytest_s)
    assert looked == [{}, {}], "who kept it is told what is installed by now"


def test_skops_trusts_the_same_types_where_a_server_has_imported_it():
    """What its list of trusted types says depends on the order of the modules."""
    names = [types_trusted_after(f"import pandas; {way}") for way in ("import skops.io", AS_A_SERVER_DOES)]
    assert names[0] == names[1]
    assert "scipy.special" in names[0], "this test would prove nothing"


def types_trusted_after(code):
    """All that skops says it trusts, in a fresh interpreter."""
    told = "import skops.io._trusted_types as t; print({k: v for k, v in vars(t).items() if k.endswith('_NAMES')})"
    command = [sys.executable, "-c", f"{code}\n{told}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


AS_A_SERVER_DOES = """
import sys
from pipeline.execution.fork_server import import_quietly
before = [*sys.modules]
import_quietly("skops.io")
ours = [name for name in sys.modules if name.partition(".")[0] not in ("numpy", "scipy")]
assert ours[: 20] == [name for name in before if name.partition(".")[0] not in ("numpy", "scipy")][: 20]
assert [*sys.modules].index("scipy.special") < [*sys.modules].index("sys"), "theirs come first"
"""
