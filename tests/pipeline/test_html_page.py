"""The pages: what they say, and that nothing a run has logged can become markup."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.config import parse
from pipeline.reporting.html_page import manifest_differences, run_page

CONFIG = {
    "pipeline": {
        "a": {"summary_metrics": ["rows"]},
        "b": {"after": "a"},
        "later": {"after": "b", "manual": True},
    }
}
REQUEST = parse(CONFIG)
STEP = {"state": "executed", "reason": "never run", "run_id": "ab" * 16, "seconds": 1.25, "inputs": {}, "outputs": {}}
MANIFEST = {
    "run_id": "cd" * 16,
    "status": "FINISHED",
    "started": "2026-01-01T00:00:00Z",
    "seconds": 3.0,
    "env_manager": "local",
    "commit": None,
    "steps": {
        "a": STEP | {"metrics": {"rows": 5.0, "other": 0.25}},
        "b": STEP | {"state": "failed", "reason": "<b>no</b>", "metrics": {}, "outputs": {"<i>.csv": "e" * 64}},
    },
}


def test_it_says_first_what_came_of_the_run():
    assert "<h1>Pipeline run: b failed</h1>" in run_page(REQUEST, MANIFEST)
    good = MANIFEST | {"steps": {"a": MANIFEST["steps"]["a"]}}
    assert "<h1>Pipeline run: 1 executed</h1>" in run_page(REQUEST, good)


def test_what_a_step_logged_is_text_and_never_markup():
    text = run_page(REQUEST, MANIFEST)
    assert "&lt;b&gt;no&lt;/b&gt;" in text
    assert "<i>" not in text
    assert "<script" not in text


def test_the_metrics_that_the_configuration_names_are_in_sight_and_the_others_folded():
    sight, _, folded = run_page(REQUEST, MANIFEST).partition("1 more metrics")
    assert "<small>rows</small><b>5</b>" in sight
    assert "other" not in sight
    assert "0.250" in folded


def test_a_run_is_linked_where_a_server_shows_it():
    assert "<a " not in run_page(REQUEST, MANIFEST)
    assert f'<a href="http://host/#/runs/{"cd" * 16}">' in run_page(REQUEST, MANIFEST, server="http://host/#/runs/")


def test_steps_on_request_are_drawn_where_they_ran():
    assert ">later<" not in run_page(REQUEST, MANIFEST)
    ran = MANIFEST | {"steps": MANIFEST["steps"] | {"later": MANIFEST["steps"]["a"]}}
    assert ">later<" in run_page(REQUEST, ran)


def test_small_pictures_among_the_outputs_are_shown(tmp_path: Path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "roc.png").write_bytes(b"\x89PNG")
    (tmp_path / "plots" / "huge.png").write_bytes(bytes(400_000))
    text = run_page(REQUEST, MANIFEST, outputs={"a": {"plots": tmp_path / "plots"}})
    assert 'alt="roc"' in text
    assert 'alt="huge"' not in text


def test_what_was_made_and_the_log_are_linked_where_they_lie_or_where_a_server_shows_them(tmp_path: Path):
    made = MANIFEST | {"steps": {"a": MANIFEST["steps"]["a"] | {"outputs": {"x.csv": "e" * 64, "gone.csv": "e" * 64}}}}
    places = {"a": {"x.csv": tmp_path / "x.csv", "pipeline/a.log": tmp_path / "a.log"}}
    text = run_page(REQUEST, made, outputs=places)
    assert f'<a href="{(tmp_path / "x.csv").as_uri()}">x.csv</a>' in text
    assert f'<a href="{(tmp_path / "a.log").as_uri()}">pipeline/a.log</a>' in text
    assert "<td>gone.csv</td>" in text
    assert "pages: " not in text
    paged = {"a": {"checks.html": tmp_path / "checks.html"}}
    assert "pages: <a " in run_page(REQUEST, made, outputs=paged), "what is to be looked at is not folded away"
    served = run_page(REQUEST, made, outputs=places, server="http://host/#/runs/")
    assert f'<a href="http://host/#/runs/{"ab" * 16}/artifacts/x.csv">' in served


def test_each_step_that_ran_has_its_place_on_the_time_line():
    assert "The time" not in run_page(REQUEST, MANIFEST), "a manifest of before, or nothing ran"
    first, second = MANIFEST["steps"].values()
    steps = {"a": first | {"start": 0.5}, "b": second | {"start": None}}
    text = run_page(REQUEST, MANIFEST | {"steps": steps})
    left, width = map(float, re.search(r'<rect x="([\d.]+)" y="3" width="([\d.]+)"', text).groups())
    assert (left - 150) / 560 == pytest.approx(0.5 / 3.0, abs=1e-3)
    assert width / 560 == pytest.approx(1.25 / 3.0, abs=1e-3)


def test_what_differs_from_the_run_before():
    old = {"outputs": {"x": "1", "gone": "2"}, "metrics": {"score": 0.5, "same": 1.0, "fine": 0.12341}}
    new = {"outputs": {"x": "3", "born": "4"}, "metrics": {"score": 0.75, "same": 1.0, "fine": 0.12342}}
    assert manifest_differences(old, new) == [
        "output born is new",
        "output gone is no longer made",
        "output x changed",
        "fine 0.12341 → 0.12342",
        "score 0.500 → 0.750",
    ]
    assert manifest_differences(None, new) == []


@pytest.mark.integration
@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_runs_over_the_edge_in_a_browser(tmp_path: Path, width: int):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("no Chromium here: apt install chromium")
    measured = "<script>document.title = document.documentElement.scrollWidth + '/' + innerWidth</script>"
    long = MANIFEST | {"steps": {"a": MANIFEST["steps"]["a"] | {"outputs": {"n" * 200: "f" * 64}}}}
    page = tmp_path / "report.html"
    page.write_text(run_page(REQUEST, long).replace("<details>", "<details open>") + measured)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=240)
    wide, room = map(int, re.search(r"<title>(\d+)/(\d+)</title>", done.stdout).groups())
    assert wide <= room, done.stderr[-2000:]
