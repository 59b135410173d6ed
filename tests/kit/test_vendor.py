"""`make kit`: which files a step shares shows in its folder."""

import tomllib

from kit import vendor
from tests.conftest import ROOT

OURS = ("data_download", "data_cleaning", "training", "evaluation", "inference", "monitoring", "pipeline")


def test_a_step_gets_the_files_that_it_has_the_names_of_and_no_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(vendor, "KIT", tmp_path / "kit")
    for name in ("kit/holdout.py", "kit/step.py", "mine/MLproject", "mine/holdout.py", "mine/own.py", "other/step.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert vendor.main() == 0
    assert capsys.readouterr().out == "mine/holdout.py is as kit/holdout.py\n"
    assert (tmp_path / "mine" / "holdout.py").read_text() == "kit/holdout.py"
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["MLproject", "holdout.py", "own.py"]
    assert (tmp_path / "other" / "step.py").read_text() == "other/step.py", "which is no step"
    assert vendor.main() == 0
    assert capsys.readouterr().out == ""


def test_what_a_file_imports_comes_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(vendor, "KIT", tmp_path / "kit")
    texts = {"declaration": "import json\nfrom table import Table", "table": "    import step_error", "step_error": ""}
    for name in ("kit", "mine"):
        (tmp_path / name).mkdir()
    for name, text in texts.items():
        (tmp_path / "kit" / f"{name}.py").write_text(text)
    (tmp_path / "mine" / "MLproject").touch()
    (tmp_path / "mine" / "declaration.py").touch()
    assert vendor.main() == 0
    assert sorted(path.stem for path in (tmp_path / "mine").glob("*.py")) == ["declaration", "step_error", "table"]


def test_the_steps_of_the_project_share_the_frame_of_a_step():
    assert {path.name for path in vendor.copies().values()} >= {"step.py", "step_error.py", "declaration.py"}
    assert all(copy.parent != vendor.KIT for copy in vendor.copies())


def test_no_copy_counts_as_code_that_is_not_tested():
    omitted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["coverage"]["run"]["omit"]
    own = {str(copy.relative_to(ROOT)) for copy in vendor.copies() if copy.parent.name in OURS}
    assert sorted(own - set(omitted)) == []
