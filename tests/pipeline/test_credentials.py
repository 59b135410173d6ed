"""No secret of an address gets anywhere: not into the store, a file of the run, or the terminal."""

import os
from pathlib import Path

import pytest

from pipeline.cli.arguments import quoted
from pipeline.cli.composing import compose
from pipeline.credentials import found_in, masked
from pipeline.errors import RequestError

KEYS = ("token", "sig", "X-Amz-Signature", "key", "auth", "pwd", "jwt", "access_token", "apiKey", "client_secret")
ADDRESSES = [
    *(f"https://example.com/x.csv?a=1&{key}=s3cret" for key in KEYS),
    *("https://me:s3cret@example.com/x.csv", "https://s3cret@example.com/x.csv", "s3://me:s3cret@bucket/x.csv"),
    *("postgresql://me:s3cret@db/list", "mysql+pymysql://db/list?password=s3cret"),
    *("read https://example.com/?sig=s3cret now", "https://example.com/x#token=s3cret", "//s3cret@example.com/x"),
]
CONFIG = """
data_url: {written}
steps: all
pipeline:
  a:
    parameters: {{text: "${{data_url}}", other: "${{oc.env:GREETING}}"}}
defaults: [_self_, override hydra/job_logging: disabled, override hydra/hydra_logging: disabled]
hydra: {{run: {{dir: .}}, output_subdir: null}}
"""


def refused(root: Path, written: str, *arguments: str) -> str:
    """The sentence that a configuration is refused with."""
    (root / "config.yaml").write_text(CONFIG.format(written=written))
    with pytest.raises(RequestError) as error:
        compose(root, list(arguments))
    (sentence,) = error.value.problems
    assert "s3cret" not in sentence
    return sentence


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("sys.argv", ["main.py"])
    monkeypatch.setenv("GREETING", "hello")
    monkeypatch.setenv("MY_TOKEN", "s3cret")
    return tmp_path


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_secret_is_refused_however_it_is_given(root, address):
    assert "data_url holds a secret (" in refused(root, f"'{address}'")
    assert "data_url holds a secret (" in refused(root, "x", f"data_url={quoted(address)}")
    assert "pipeline.a.parameters.text holds" in refused(root, "x", "--steps", "all", "--a.text", address)


def test_a_secret_of_the_environment_is_not_worked_out_to_be_stored(root, monkeypatch):
    assert "data_url takes MY_TOKEN from the environment" in refused(root, "${oc.env:MY_TOKEN}")
    monkeypatch.setenv("GREETING", "https://example.com/?key=s3cret")
    assert "pipeline.a.parameters.other holds a secret" in refused(root, "x")


def test_a_variable_in_its_place_is_text_for_the_step(root):
    (root / "config.yaml").write_text(CONFIG.format(written=r"https://example.com/?token=\${MY_TOKEN}"))
    (composed,) = compose(root, [])
    assert composed.request().steps["a"].parameters["text"] == "https://example.com/?token=${MY_TOKEN}"
    assert "s3cret" not in composed.text


def test_what_mlflow_has_stored_is_said_with_the_command_that_erases_it(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc123")
    (root / "config.yaml").write_text(CONFIG.format(written="x"))
    with pytest.raises(RequestError) as error:
        compose(root, ["--steps", "all", "--data_url", "https://s3cret@example.com/x.csv"])
    assert "mlflow runs delete --run-id abc123 && mlflow gc --run-ids abc123" in error.value.problems[-1]


@pytest.mark.parametrize(
    "text",
    [
        *("models:/titanic@champion", "runs:/abc/x@y.csv", "https://example.com/x?page=2&monkey=1", "a;key=b"),
        *("ssh://git@example.com/a.git", "git@example.com:a.git", "me@example.com", "data/token=1.csv", "a: b"),
        "https://example.com/a@b.csv",
    ],
)
def test_what_is_no_secret_is_left_alone(text):
    assert found_in(text) == ""


@pytest.mark.parametrize("address", ADDRESSES[:-1])
def test_a_message_that_repeats_what_was_typed_leaves_the_secret_out(address):
    assert "s3cret" not in masked(f"cannot read {address}")


@pytest.mark.integration
def test_no_secret_is_anywhere_afterwards(toy):
    toy.step("a")
    clean = dict(toy.config)
    printed = ""
    environ = os.environ | {"MY_TOKEN": "s3cret"}

    def run(*arguments: str, code: int = 2) -> None:
        nonlocal printed
        process = toy.start(*arguments, env=environ)
        printed += "".join(process.communicate())
        assert process.returncode == code

    for address in ADDRESSES[8:]:
        run(f"a.text={quoted(address)}", "dry_run=true")
        run("--steps", "all", "--data_url", "", "--overrides", "", "--a.text", address)
        run("a.text=" + address)  # which Hydra's grammar has not, mostly
    toy.config["pipeline"]["a"]["parameters"]["text"] = "${oc.env:MY_TOKEN}"
    toy.save()
    run()
    toy.config = clean
    toy.config["pipeline"]["a"]["parameters"]["text"] = r"https://example.com/?token=\${MY_TOKEN}"
    toy.save()
    run(code=0)
    assert "s3cret" not in printed
    for path in toy.folder.parent.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path
