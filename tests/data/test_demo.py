"""`make demo` tells the whole story, from broken rows to a new champion, and its pages can be looked at.

PIPELINE_SCREENSHOTS=FOLDER (make screenshots) keeps pictures of them.
"""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

import make_sample
import mlflow
import pytest
from PIL import Image

from tests.conftest import cloned
from tests.pages import set_up

pytestmark = pytest.mark.integration
QUICK = "training.cv_repeats=1 retraining.cv_repeats=1 training.plots=false retraining.plots=false"
QUICK += " evaluation.report=false reevaluation.report=true monitoring.report=false"
# Page -> the step whose artifact it is. (evidently.html is Evidently's.)
PAGES = {
    "report.html": "",
    "checks.html": "data_cleaning",
    "profile.html": "data_cleaning",
    "drift.html": "monitoring",
    "evaluation.html": "reevaluation",
}
WIDTHS = (400, 1600)  # pixels
BROWSERS = ("chromium", "google-chrome", "chromium-browser")


@dataclass
class Demo:
    """A finished `make demo`, quicker than usual, in a clone."""

    clone: Path
    told: str
    steps: dict[str, dict]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    clone = cloned(tmp_path_factory.mktemp("demo") / "clone")
    set_up(clone)
    done = subprocess.run(["make", "demo", f"ARGS={QUICK}"], cwd=clone, capture_output=True, text=True, timeout=300)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    return Demo(clone, done.stdout, json.loads((clone / "outputs" / "manifest.json").read_text())["steps"])


def test_the_demo_leads_from_broken_rows_to_a_new_champion(demo):
    story = demo.told.partition("What happened")[2]
    reasons = re.findall(r"line (\d+): (\w+)$", story, re.MULTILINE)
    assert len({reason for _, reason in reasons}) >= len(make_sample.BROKEN), "each row has a reason of its own"
    # A row of the frame is two lines further down in the file, whose first line is the header.
    assert {int(line) for line, _ in reasons} >= {row + 2 for row in make_sample.BROKEN}
    assert re.search(r"version 1 .* passed and is champion now\.\n3\. .*Drift: Age, .*accuracy", story)
    assert re.search(r"4\. .*version 2 .* passed and is champion now, after version 1\.\n5\. ", story)
    assert {step["state"] for step in demo.steps.values()} == {"executed"}
    report = (demo.clone / "outputs" / "report.html").read_text()
    assert all(demo.steps[name]["note"] in report for name in ("evaluation", "monitoring", "reevaluation"))
    links = re.findall(r'href="file://([^"#]+)"', report)
    assert len(links) > 20 and all(Path(urllib.parse.unquote(link)).exists() for link in links)
    with (demo.clone / "outputs" / "predictions.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 400
    assert not (demo.clone / "mlflow.db").exists(), "what the user has recorded is left alone"


def test_its_pages_are_readable_on_a_phone_and_a_wide_screen_in_light_and_dark(demo, tmp_path):
    """In a real browser: nothing is wider than the screen, nothing fails, axe-core finds no serious fault."""
    pytest.importorskip("axe_playwright_python", reason="make docs installs what a browser is driven with")
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    faults = []
    screenshots = os.environ.get("PIPELINE_SCREENSHOTS")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, file in pages(demo, tmp_path).items():
            for scheme in ("light", "dark"):
                for width in WIDTHS:
                    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
                    seen = []
                    page.on("console", lambda said, seen=seen: seen.append(said.text))
                    page.on("pageerror", lambda error, seen=seen: seen.append(str(error)))
                    page.on("request", lambda request, seen=seen: seen.append(f"fetches {request.url}"))
                    page.goto(file.as_uri())
                    seen.remove(f"fetches {file.as_uri()}")
                    seen += [f"{width} px are not enough: {one}" for one in too_wide(page)]
                    seen += serious_faults(page) if width == min(WIDTHS) else []
                    faults += [f"{name}, {scheme}, {width} px: {one}" for one in seen]
                    page.close()
            if screenshots:
                page = browser.new_page(viewport={"width": 1056, "height": 900}, color_scheme="light")
                page.goto(file.as_uri())
                picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(48)
                picture.save(Path(screenshots, name).with_suffix(".png"), optimize=True)
        browser.close()
    assert not faults, "\n".join(faults)


def pages(demo: Demo, folder: Path) -> dict[str, Path]:
    """The pages, from `outputs/` and from the store."""
    store = f"sqlite:///{demo.clone / 'build' / 'demo' / 'mlflow.db'}"
    found = {"report.html": demo.clone / "outputs" / "report.html"}
    for name, step in PAGES.items():
        if step:
            uri = f"runs:/{demo.steps[step]['run_id']}/{name}"
            path = mlflow.artifacts.download_artifacts(uri, dst_path=str(folder), tracking_uri=store)
            found[name] = Path(path)
    return found


def serious_faults(page) -> list[str]:
    """What axe-core finds: contrast, names, what can be reached with the keyboard."""
    from axe_playwright_python.sync_playwright import Axe

    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['help']}: {node['html'][:100]}" for one in found for node in one["nodes"][:3]]


def too_wide(page) -> list[str]:
    """What stands out to the right of a page that would have to be scrolled sideways, and pictures that are cut off."""
    return page.evaluate("""() => {
        document.querySelectorAll("details").forEach(one => one.open = true)
        const root = document.documentElement
        const out = one => one.getBoundingClientRect().right > root.clientWidth && !one.closest(".wide")
        const cut = one => !one.viewBox.baseVal.width && one.getBBox().width > one.clientWidth
        const found = [...document.querySelectorAll("svg")].filter(cut)
        if (root.scrollWidth > root.clientWidth) found.push(...[...document.querySelectorAll("body *")].filter(out))
        return found.slice(0, 3).map(one => one.outerHTML.slice(0, 100))
    }""")
