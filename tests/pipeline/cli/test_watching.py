"""`--watch`: a round for each change that counts, and none for any other."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.cli.watching import counts, differences, named
from tests.pipeline.conftest import HANG, Toy, wait_until


class Output:
    """What a process prints, taken in as it comes."""

    def __init__(self, process):
        self.process, self.lines = process, []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line.rstrip())

    def wait_for(self, words: str, times: int = 1) -> None:
        wait_until(
            lambda: sum(words in line for line in list(self.lines)) >= times,
            lambda: f"{words!r} not {times} times in {self.lines}",
        )


@pytest.fixture
def watched(toy: Toy) -> Callable[..., Output]:
    def start(*arguments: str) -> Output:
        return Output(toy.start("--watch", *arguments))

    toy.config["journal"] = True
    toy.step("a")
    toy.step("b", reads="a")
    return start


@pytest.mark.integration
def test_each_change_that_counts_makes_a_round_and_ctrl_c_ends_all(toy, watched):
    output = watched()
    output.wait_for("watching:")
    assert toy.states() == {"a": "executed", "b": "executed"}
    (toy.folder / "notes.db").touch()  # counts nowhere
    script = toy.folder / "b" / "run.py"
    script.write_text(script.read_text().replace("+ 1)", "+ 2)"))
    output.wait_for("watching:", times=2)
    assert "changed: b/run.py" in output.lines
    assert toy.states() == {"a": "reused", "b": "executed"}
    assert "b: lines 2 → 3" in output.lines
    toy.config["pipeline"]["a"]["parameters"]["text"] = "other"
    toy.save()
    output.wait_for("watching:", times=3)
    assert toy.states() == {"a": "executed", "b": "executed"}
    output.process.send_signal(signal.SIGINT)
    assert output.process.wait(timeout=HANG) == 130
    toy.wait_until_gone()
    assert sum(line.startswith("round") for line in output.lines) == 3


@pytest.mark.integration
def test_a_change_while_a_round_runs_starts_over(toy, watched):
    toy.step("b", reads="a", parameters={"do": "sleep:600"})
    output = watched()
    output.wait_for("b  started")
    toy.wait_until_at_work("b")
    toy.step("b", reads="a")
    output.wait_for("starting over")
    output.wait_for("watching:")
    assert toy.states() == {"a": "reused", "b": "executed"}
    assert "RUNNING" not in toy.statuses()


@pytest.mark.integration
def test_what_a_step_read_elsewhere_is_watched_too(toy, watched, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "rates.txt").write_text("one")
    toy.step("b", reads="a", parameters={"text": "x"})
    script = toy.folder / "b" / "run.py"
    script.write_text(script.read_text().replace("a.text +", f"a.text + open({str(outside / 'rates.txt')!r}).read() +"))
    output = watched()
    output.wait_for("watching:")
    (outside / "rates.txt").write_text("two")
    output.wait_for("watching:", times=2)
    assert toy.states() == {"a": "reused", "b": "executed"}


@pytest.mark.integration
def test_it_starts_itself_anew_when_the_orchestrator_changes(toy, watched):
    output = watched()
    output.wait_for("watching:")
    file = toy.folder / "pipeline" / "states.py"
    file.write_text(file.read_text() + "\n")
    output.wait_for("starting anew")
    output.wait_for("watching:", times=2)
    assert toy.states() == {"a": "reused", "b": "reused"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("config.yaml", True), ("a/run.py", True), (".gitignore", True), ("a/__pycache__/run.pyc", False),
        ("outputs/manifest.json", False), ("mlflow.db-wal", False), ("a/.run.py.swp", False), ("a/run.py~", False),
    ],
)  # fmt: skip
def test_what_a_round_writes_itself_does_not_count(path, expected, tmp_path):
    assert counts(tmp_path / path, tmp_path) == expected


def test_what_differs_is_said_step_by_step():
    before = {"a": {"accuracy": 0.814, "rows": 9}, "b": {"x": 1.0}}
    now = {"a": {"accuracy": 0.8213, "rows": 9}, "b": {"x": "nan"}, "c": {"new": 1}}
    assert differences(before, now) == ["a: accuracy 0.814 → 0.8213", "b: x 1 → nan"]
    assert named([f"/r/{n}.py" for n in "abcd"], Path("/r")) == "a.py, b.py, c.py …"


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_the_watching_process_ends_its_round(number, toy, watched):
    toy.step("b", reads="a", parameters={"do": "sleep:600"})
    output = watched()
    output.wait_for("b  started")
    toy.wait_until_at_work("b")
    output.process.send_signal(number)
    output.process.wait(timeout=HANG)
    toy.wait_until_gone()


@pytest.mark.integration
def test_a_bug_in_a_round_is_shown_and_watching_goes_on(toy, watched):
    output = watched()
    output.wait_for("watching:")
    (toy.folder / "outputs" / "manifest.json").unlink()
    (toy.folder / "outputs" / "manifest.json").mkdir()
    (toy.folder / "b" / "run.py").write_text((toy.folder / "b" / "run.py").read_text() + "\n")
    output.wait_for("watching:", times=2)
    (toy.folder / "outputs" / "manifest.json").rmdir()
    (toy.folder / "b" / "run.py").write_text((toy.folder / "b" / "run.py").read_text() + "\n")
    output.wait_for("watching:", times=3)
    assert toy.states() == {"a": "reused", "b": "executed"}
