"""The pieces that look at files, one by one: the journal, the tracer, what was read."""

import os
from pathlib import Path

from pipeline import journal
from pipeline.cli.ahead import is_known
from pipeline.execution.read_tracer import Tracer
from pipeline.planning.reads import changed, collect

SAID = {
    "lines": ["a  reused"],
    "summary": "all",
    "counts": "1 reused",
    "files_line": "files: x",
    "conclusion": [],
    "plan": "plan",
}


def test_a_journal_answers_until_something_it_looked_at_changes(tmp_path, capsys):
    for name in ("mlflow.db", "file", "other"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    looked = [tmp_path / name for name in ("file", "folder", "not there")]
    said = SAID | {"manifest": {"run_id": "1"}, "manifest_file": str(tmp_path / "outputs" / "manifest.json")}
    database = tmp_path / "mlflow.db"

    def keep() -> None:
        state = journal.database_state(database)
        journal.write(tmp_path, ["x=1"], looked, ["HOME"], database, state, said)

    keep()
    assert journal.answer(tmp_path, ["x=1"]) == 0
    assert "nothing changed since pipeline run 1: 1 reused" in capsys.readouterr().out
    assert journal.answer(tmp_path, ["x=1", "dry_run=true"]) == 0
    assert capsys.readouterr().out == "plan\n"
    assert journal.answer(tmp_path, ["x=2"]) is None
    (tmp_path / "other").write_text("of no account")
    assert journal.answer(tmp_path, ["x=1"]) == 0
    changes = [
        lambda: (tmp_path / "file").write_text("changed"),
        lambda: (tmp_path / "folder" / "new").touch(),
        lambda: (tmp_path / "not there").touch(),
        lambda: database.write_text("changed too"),
    ]
    for change in changes:
        change()
        assert journal.answer(tmp_path, ["x=1"]) is None
        keep()
        assert journal.answer(tmp_path, ["x=1"]) == 0
    (file,) = (tmp_path / journal.FOLDER).glob("*.json")
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("no JSON")
    assert journal.answer(tmp_path, ["x=1"]) is None


def test_what_is_opened_and_listed_is_taken_down_once(tmp_path):
    root, log = tmp_path / "project", tmp_path / "reads.jsonl"
    (root / "step").mkdir(parents=True)
    for name in ("read", "ignored", "input"):
        (tmp_path / name).write_text(name)
    tracer = Tracer(str(log), [str(tmp_path / "ignored")])
    for name in ("read", "read", "ignored", "input", "missing"):
        tracer.hook("open", (str(tmp_path / name), "r", os.O_RDONLY))
    tracer.hook("open", (str(tmp_path / "made.part"), "w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
    tracer.hook("os.rename", (str(tmp_path / "made.part"), str(tmp_path / "made"), -1, -1))
    tracer.hook("open", (str(tmp_path / "made"), "r", os.O_RDONLY))
    tracer.hook("sqlite3.connect", (f"file:{tmp_path / 'read'}?mode=ro",))
    tracer.hook("os.scandir", (str(root),))
    tracer.hook("open", (3, "r", os.O_RDONLY))
    found = collect(log, root, root / "step", [tmp_path / "input"])
    assert set(found.digests) == {"../read", "../missing", "./"}
    assert found.moved == ()
    assert changed(found.digests, root) == []
    (tmp_path / "read").write_text("other")
    (tmp_path / "missing").touch()
    (root / "new").touch()
    assert set(changed(found.digests, root)) == {"../read", "../missing", "./"}
    assert set(collect(log, root, root / "step", []).moved) == {"../read", "../missing", "./"}


def test_a_glance_tells_what_looks_right(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "MLproject").write_text("entry_points: {main: {parameters: { seed: int}}}\n      text: x\n")
    written = {"pipeline": {"a": {"parameters": {"x": 1}}}, "groups": {"g": ["a"]}, "data_url": "y"}
    right = [("steps", "[a]"), ("steps", "g,all"), ("data_url", "z"), ("dry_run", "true")]
    right += [("++pipeline.a.parameters.x", "2"), ("++pipeline.a.parameters.seed", "2")]
    assert all(is_known(key, value, written, tmp_path) for key, value in right)
    wrong = [("steps", "b"), ("data_ulr", "z"), ("++pipeline.a.parameters.y", "2"), ("++pipeline.b.parameters.x", "2")]
    assert not any(is_known(key, value, written, tmp_path) for key, value in wrong)
