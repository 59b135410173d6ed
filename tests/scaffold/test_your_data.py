"""docs/your-data.md: its commands run, and print what it shows."""

import re
import subprocess
from pathlib import Path

import pytest
from declaration import FIELD_KEYS, TABLE_KEYS

from tests.conftest import ROOT
from tests.pages import commands, failing, set_up

PAGE = (ROOT / "docs" / "your-data.md").read_text(encoding="utf-8")


def test_every_key_of_ours_is_explained():
    standard = {"fields", "primaryKey", "missingValues", "description", "profile", "$schema", "raw_format", "generated"}
    standard |= {"raw_decimalChar", "raw_groupChar"}  # how a clean table keeps decimalChar and groupChar
    for key in (TABLE_KEYS | FIELD_KEYS) - standard:
        assert f"`{key}`" in PAGE, key


@pytest.mark.integration
def test_its_commands_run_and_print_what_it_shows(project: Path):
    set_up(project)
    shown = re.search(r"<!-- output of make dataset -->\n```\n(.*?)```", PAGE, re.DOTALL)[1]
    making, declaring, running = commands(PAGE)
    assert failing(project, [making]) == []
    done = subprocess.run(declaring.split(), cwd=project, capture_output=True, text=True)
    assert done.stdout == shown, done.stderr
    assert running == "make run"
    assert failing(project, ["make run ENV_MANAGER=local"]) == []
    assert "wine" in (project / "outputs" / "manifest.json").read_text()
