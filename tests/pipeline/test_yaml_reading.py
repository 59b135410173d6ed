"""Whatever is wrong with a YAML file that a user has written, it is one sentence with the line, soon."""

from pathlib import Path

import pytest

from pipeline import yaml_reading
from pipeline.cli.composing import compose
from pipeline.config import Step
from pipeline.errors import RequestError
from pipeline.planning.project import load

BASE = "steps: all\npipeline:\n  a: {}\n"
LAUGHS = "l0: &l0 [ha, ha]\n" + "".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]\n" for n in range(1, 40))
FAULTS = {
    "x: !!python/object/apply:os.system [echo]\n": "line 4: the tag !!python/object/apply:os.system is not taken",
    "x: !!python/name:os.system\n": "line 4: the tag !!python/name:os.system is not taken",
    "x: !mine y\n": "line 4: the tag !mine is not taken",
    b"y: 1\nx: caf\xe9\n": "line 5: it is not UTF-8; save the file in that encoding",
    "y: 1\nx: a\0b\n": "line 5: it holds a NUL byte",
    "x:\n\ty: 1\n": "line 5: found character that cannot start any token; indent with spaces, not tabs",
    "x: &a {y: *a}\n": "line 4: the alias *a stands inside of what it stands for",
    "x: &a [*a]\n": "line 4: the alias *a stands inside of what it stands for",
    "x: *b\n": "line 4: found undefined alias",
    "x: " + "[" * 20_000 + "]" * 20_000: "line 4: more than 100 levels",
    "x: " + "{a: " * 20_000 + "1" + "}" * 20_000: "line 4: more than 100 levels",
    LAUGHS: "with its aliases written out it has more than 100000 values",
    "x: [1, 2\ny: 3\n": "line 5: did not find expected",
    "x: 'a\n": "found unexpected end of stream",
}


@pytest.mark.parametrize(("fault", "told"), FAULTS.items(), ids=range(len(FAULTS)))
def test_a_fault_is_told_with_its_line(tmp_path, fault, told):
    file = tmp_path / "config.yaml"
    file.write_bytes(BASE.encode() + (fault if isinstance(fault, bytes) else fault.encode()))
    with pytest.raises(RequestError) as error:
        yaml_reading.read(file, "config.yaml")
    (sentence,) = error.value.problems
    assert sentence.startswith("config.yaml line ")
    assert told in sentence
    assert len(sentence.splitlines()) == 1


def test_aliases_in_reason_are_taken(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {b: [1, 2]}\nc: *a\nd: !!str 1\n")
    assert yaml_reading.read(tmp_path / "x.yaml", "x.yaml") == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}, "d": "1"}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (BASE + "steps: all\n", "config.yaml line 4: found duplicate key steps"),
        (BASE + "defaults:\n", "Invalid defaults list in 'config', defaults must be a list (got NoneType)"),
        ("- a\n", "config.yaml is no block of keys"),
        ("", "config.yaml is no block of keys"),
        (None, "config.yaml cannot be read (No such file or directory)"),
    ],
)
def test_what_is_no_configuration_is_refused_before_anything_is_started(tmp_path, monkeypatch, config, told):
    monkeypatch.setattr("sys.argv", ["main.py"])
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(RequestError) as error:
        compose(tmp_path, [])
    assert told in str(error.value)


@pytest.mark.parametrize("argument", ["package=1", "a@b=1", "hydra.x=1", "foo"])
def test_an_odd_override_is_refused_in_a_sentence(tmp_path, monkeypatch, argument):
    monkeypatch.setattr("sys.argv", ["main.py"])
    (tmp_path / "config.yaml").write_text(BASE)
    with pytest.raises(RequestError) as error:
        compose(tmp_path, [argument])
    assert len(error.value.problems) == 1
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("mlproject", "told"),
    [
        (
            "entry_points: {main: {parameters: [a, b]}}",
            "parameters is \"['a', 'b']\", not a block of keys",
        ),
        ("entry_points: {main: {parameters: {a: [b]}}}", "a is \"['b']\", not a block of keys"),
        ("entry_points: [main]", "a/MLproject: entry_points is"),
        ("entry_points: {main: hello}", "a/MLproject: main is 'hello'"),
        ("- a", "a/MLproject is"),
        ("a: !x b", "step a: a/MLproject line 1: the tag !x is not taken"),
    ],
)
def test_an_mlproject_of_another_form_is_told(tmp_path: Path, mlproject, told):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "MLproject").write_text(mlproject)
    with pytest.raises(RequestError) as error:
        load(Step("a"), folder)
    assert told in str(error.value)
