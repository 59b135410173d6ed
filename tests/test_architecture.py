"""The picture of the house is drawn from the code, and is that of the code as it is."""

import runpy

from tests.conftest import ROOT


def test_the_picture_is_of_the_code_as_it_is():
    drawing = runpy.run_path(str(ROOT / "docs" / "draw_architecture.py"))
    assert drawing["TARGET"].read_text(encoding="utf-8") == drawing["draw"](), "run python docs/draw_architecture.py"


def test_every_room_is_in_the_picture():
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "pipeline").rglob("*.py")} - {"__init__.py"}
    assert {name for name in files if name not in drawn} == set()
