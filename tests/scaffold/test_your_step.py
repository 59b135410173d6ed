"""docs/your-step.md: its commands run, and what it shows is what there is."""

import re

import pytest
import yaml

from pipeline.errors import RequestError
from scaffold.new_step import LANGUAGES, new_step
from tests.conftest import ROOT
from tests.pages import commands, failing, set_up

PAGE = (ROOT / "docs" / "your-step.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_what_it_shows_is_what_make_step_writes(project):
    said = new_step(project, "feature_selection", "data_cleaning")
    new_step(project, "big_spenders", "data_cleaning", "bash")
    assert blocks("text")[0] == "\n".join(said) + "\n"
    files = [project / "config.yaml"]
    files += [path for step in ("feature_selection", "big_spenders") for path in (project / step).iterdir()]
    written = [path.read_text(encoding="utf-8") for path in files]
    shown = blocks("yaml") + blocks("python") + blocks("bash")
    assert len(shown) == 5
    assert [block for block in shown if not any(block in text for text in written)] == []


def test_the_mistake_that_it_shows_is_answered_like_that(project):
    with pytest.raises(RequestError) as error:
        new_step(project, "other", "data_cleanin")
    answer = re.search(r"data_cleanin\nerror: (.*) …$", PAGE, re.MULTILINE)[1]
    assert str(error.value).startswith(answer)


def test_it_names_each_language():
    (line,) = re.findall(r"are ready: (.*?)\. What", PAGE, re.DOTALL)
    assert ["python", *re.findall(r"`(?:LANGUAGE=)?(\w+)`", line)] == list(LANGUAGES)
    for language in LANGUAGES.values():
        assert f"`{language.tool}`" in PAGE or language.tool == "python"


@pytest.mark.integration
def test_every_command_runs(project):
    """As a reader meets them, each in a shell of its own."""
    set_up(project)
    assert "make step NAME=feature_selection AFTER=data_cleaning" in commands(PAGE)
    assert failing(project, commands(PAGE)) == []
    pipeline = yaml.safe_load((project / "config.yaml").read_text(encoding="utf-8"))["pipeline"]
    assert {"feature_selection", "big_spenders"} <= set(pipeline)
