"""config.yaml takes a value from another file where that says it already."""

from pathlib import Path

import pytest

from pipeline.cli.composing import compose
from pipeline.errors import RequestError

CONFIG = """
model_name: ${yaml:table.yaml,name}
pipeline:
  a:
    parameters: {model: "${model:${model_name}@champion,b,model}", old: "models:/${model_name}@champion"}
  b: {}
defaults: [_self_, override hydra/job_logging: disabled, override hydra/hydra_logging: disabled]
hydra: {run: {dir: .}, output_subdir: null}
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "table.yaml").write_text("name: orders\nfields: [{name: a}]\n")
    monkeypatch.setattr("sys.argv", ["main.py"])
    return tmp_path


def test_a_reference_may_hold_a_value_of_another_file(root):
    (composed,) = compose(root, [])
    request = composed.request()
    assert request.steps["a"].parameters == {
        "model": "${model:orders@champion,b,model}", "old": "models:/orders@champion",
    }  # fmt: skip
    assert composed.simple, "the journal looks at the file that is named"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [a]", "config.yaml takes 'name' from table.yaml, which has no text or number of that name"),
        ("title: x", "config.yaml takes 'name' from table.yaml, which has no text or number of that name"),
        ("name: [", "config.yaml takes 'name' from table.yaml, which cannot be read"),
        (None, "config.yaml takes 'name' from table.yaml, which cannot be read (No such file or directory)"),
    ],
)
def test_a_value_that_is_not_there_is_told_in_a_sentence(root, text, message):
    (root / "table.yaml").unlink() if text is None else (root / "table.yaml").write_text(text)
    with pytest.raises(RequestError) as error:
        compose(root, [])
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
