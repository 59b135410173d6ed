"""Every command in the README and in the pages behind it runs, in the order in which a reader meets them."""

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import ROOT, served_folder
from tests.pages import commands, failing, set_up

README = (ROOT / "README.md").read_text(encoding="utf-8")
ITALIAN = (ROOT / "README.it.md").read_text(encoding="utf-8")
PAGES = [README, *((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("running.md", "production.md"))]
COMMANDS = [command for page in PAGES for command in commands(page)]
ELSEWHERE = {"make run": "test_make_run_prints_what_the_readme_shows", "make test": "this very test run"}


def test_there_are_commands():
    assert "make run" in COMMANDS
    assert len(COMMANDS) > 10


def blocks(page: str) -> list[str]:
    """The `sh` blocks of a page that show how the pipeline is run, as they are written."""
    return re.findall(r"^```sh\n(.*?)^```$", page.partition("\n## Your data")[0], re.DOTALL | re.MULTILINE)


def test_the_italian_page_has_the_same_commands():
    """All that runs the pipeline or a step, in the same order; what asks or tells about it may be left out."""
    there = blocks(ITALIAN)
    assert there == [block for block in blocks(README) if block in there]
    left_out = {command for command in commands("".join(f"```sh\n{b}```\n" for b in blocks(README) if b not in there))}
    assert left_out == {"python main.py status", "python main.py diff", "python main.py graph mermaid"}


def test_the_italian_page_has_the_same_table_of_steps():
    def names(page: str) -> list[list[str]]:
        return [re.findall(r"`([^`]+)`", line) for line in page.splitlines() if line.startswith("| `")]

    assert names(ITALIAN) == names(README)
    assert len(names(README)) >= 6


@pytest.mark.integration
def test_every_command_runs(project: Path):
    """In one shell session after another, in a clone, with this interpreter's environment as .venv."""
    set_up(project)
    with served_folder(project / "data") as address:
        own = [c.replace("https://example.com/titanic.csv", f"{address}/titanic_sample.csv") for c in COMMANDS]
        assert failing(project, [command for command in own if command not in ELSEWHERE]) == []


@pytest.mark.integration
def test_make_run_prints_what_the_readme_shows(project: Path):
    """The states and figures; times and run IDs are another matter, as is a step that somebody has added."""
    set_up(project)
    done = subprocess.run(["make", "run"], cwd=project, capture_output=True, text=True, timeout=580)
    print(done.stdout[-3000:], done.stderr[-3000:])
    assert done.returncode == 0

    def figures(text: str) -> list[list[str]]:
        rows = [line.split() for line in text.splitlines() if re.match(r"\w+ +[✓=✗-] \w+", line)]
        return [[row[0], row[2], *row[row.index("s") + 2 :]] for row in rows]

    shown = re.search(r"<!-- output of make run -->(.*?)<!-- /output", README, re.DOTALL)[1]
    steps = [row[0] for row in figures(shown)]
    assert [row for row in figures(done.stdout) if row[0] in steps] == figures(shown)
    assert len(steps) >= 6


@pytest.mark.integration
def test_make_ui_shows_the_runs(project: Path, store: str):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    makefile = (ROOT / "Makefile").read_text()
    command = re.search(r"^ui:.*\n\t(.*)", makefile, re.MULTILINE)[1]
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split()[:1], "ui", "--backend-store-uri", store, "--port", str(port)],
        cwd=project, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(400):
            time.sleep(0.3)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    assert answer.status == 200
                    return
            except OSError:
                continue
        raise AssertionError("it never answered")
    finally:
        os.killpg(process.pid, 15)
        process.wait()
