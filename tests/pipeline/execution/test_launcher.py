"""What is imported before steps are forked."""

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
