"""What a step really reads counts: a result is never reused after something that made it has changed."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import yaml

from tests.pipeline.conftest import HANG, Toy

pytestmark = pytest.mark.integration
STEP = """
import mlflow, os, sys
from pathlib import Path
with mlflow.start_run():
    {body}
    mlflow.log_text(str(made), "out.txt")
"""
MLPROJECT = """
name: reader
entry_points:
  main:
    parameters:
      given: {type: string, default: "DEFAULT"}
      folder: {type: path, default: ""}
    command: python run.py {given} {folder}
"""


class Reader(Toy):
    """A pipeline of one step whose code a test writes."""

    def reads(self, body: str, default: str = "", given: str = "", folder: str = "", **block: object) -> None:
        place = self.folder / "reader"
        place.mkdir(exist_ok=True)
        (place / "MLproject").write_text(MLPROJECT.replace("DEFAULT", default))
        (place / "run.py").write_text(STEP.replace("{body}", body))
        parameters = {name: value for name, value in {"given": given, "folder": folder}.items() if value}
        self.config["pipeline"]["reader"] = {"parameters": parameters, **block}
        self.save()

    def state(self, *arguments: str) -> str:
        assert self.run(*arguments).code == 0
        return self.states()["reader"]

    def made(self) -> str:
        return mlflow.artifacts.load_text(f"runs:/{self.manifest()['steps']['reader']['run_id']}/out.txt")


@pytest.fixture
def reader(toy: Toy) -> Reader:
    toy.__class__ = Reader
    toy.config["journal"] = True
    (toy.folder.parent / "outside").mkdir()
    return toy


def changes_are_seen(reader: Reader, file: Path, *arguments: str) -> None:
    """Executed, reused, executed again once `file` has another content, and reused when it is as it was."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("made = 'one'")
    assert reader.state(*arguments) == "executed"
    first = reader.made()
    assert reader.state(*arguments) == "reused"
    file.write_text("made = 'two'")
    assert reader.state(*arguments) == "executed"
    assert f"{file.name}, which it read, changed" in reader.manifest()["steps"]["reader"]["reason"]
    assert "two" in reader.made()
    file.write_text("made = 'one'")
    assert reader.state(*arguments) == "reused"
    assert reader.made() == first


WAYS: dict[str, Callable[[Reader], tuple[str, Path]]] = {
    "a module on sys.path": lambda r: (
        f"sys.path.insert(0, {str(r.folder.parent / 'outside')!r}); from rates import made",
        r.folder.parent / "outside" / "rates.py",
    ),
    "a file beside the project": lambda r: (
        "made = Path('../../outside/rates.csv').read_text()",
        r.folder.parent / "outside" / "rates.csv",
    ),
    "a file of its own that ends in .db": lambda r: (
        "made = Path('rates.db').read_text()",
        r.folder / "reader" / "rates.db",
    ),
    "a Python that it starts": lambda r: (
        "import subprocess; made = subprocess.run([sys.executable, '-c', 'print(open(\"../../outside/x\").read())'], "
        "capture_output=True, text=True, check=True).stdout",
        r.folder.parent / "outside" / "x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_what_is_read_beside_code_and_inputs_counts(way, reader):
    body, file = WAYS[way](reader)
    reader.reads(body)
    changes_are_seen(reader, file)


def test_a_module_on_pythonpath_counts_though_others_import_it_too(reader, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(reader.folder.parent / "outside"))
    reader.reads("from rates import made")
    run = reader.folder / "reader" / "run.py"
    run.write_text(run.read_text().replace("import mlflow,", "import rates, mlflow,"))
    changes_are_seen(reader, reader.folder.parent / "outside" / "rates.py")


def test_a_file_that_git_ignores_counts(reader):
    os.system(f"git init --quiet {reader.folder} && echo '*.csv' > {reader.folder}/.gitignore")  # noqa: S605
    reader.reads("made = Path('rates.csv').read_text()")
    changes_are_seen(reader, reader.folder / "reader" / "rates.csv")


def test_a_module_behind_a_linked_folder_counts_as_code(reader):
    reader.reads("from linked.rates import made")
    outside = reader.folder.parent / "outside"
    (reader.folder / "reader" / "linked").symlink_to(outside)
    (outside / "rates.py").write_text("made = 'one'")
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    (outside / "rates.py").write_text("made = 'two'")
    assert reader.state() == "executed"
    assert "changed linked/rates.py" in reader.manifest()["steps"]["reader"]["reason"]


def test_a_listed_folder_counts_by_its_names(reader):
    outside = reader.folder.parent / "outside"
    reader.reads("made = sorted(os.listdir('../../outside'))")
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    (outside / "new").touch()
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    assert "new" in reader.made()


@pytest.mark.parametrize("given", ["data.csv", "{outside}", "~/data.csv", "../../outside/data.csv,data.csv"])
def test_a_path_in_a_parameter_of_type_string_counts_by_what_is_read_there(given, reader, monkeypatch):
    """Relative to the step's folder, a folder, in the home folder, two paths in one parameter."""
    outside = reader.folder.parent / "outside"
    monkeypatch.setenv("HOME", str(outside))
    (reader.folder / "reader").mkdir()
    (reader.folder / "reader" / "data.csv").write_text("same")
    body = (
        "paths = [Path(given).expanduser() for given in sys.argv[1].split(',')]; "
        "made = [(p / 'data.csv' if p.is_dir() else p).read_text() for p in paths]"
    )
    reader.reads(body, given=given.replace("{outside}", str(outside)))
    file = reader.folder / "reader" / "data.csv" if given == "data.csv" else outside / "data.csv"
    file.write_text("one")
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    file.write_text("two")
    assert reader.state() == "executed"
    assert "two" in reader.made()


def test_what_a_linked_folder_in_an_input_folder_holds_counts(reader):
    outside, given = reader.folder.parent / "outside", reader.folder.parent / "given"
    given.mkdir()
    (given / "linked").symlink_to(outside)
    (outside / "x").write_text("one")
    reader.reads("made = Path(sys.argv[2], 'linked', 'x').read_text()", folder=str(given))
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    (outside / "x").write_text("two")
    assert reader.state() == "executed"
    assert "two" in reader.made()


def test_a_variable_is_there_and_counts_only_where_it_is_named(reader, monkeypatch):
    monkeypatch.setenv("RATES", "one")
    reader.reads("made = os.environ.get('RATES', 'none')")
    assert (reader.state(), reader.made()) == ("executed", "none")
    reader.reads("made = os.environ.get('RATES', 'none')", env={"RATES": 2})
    assert (reader.state(), reader.made(), reader.state()) == ("executed", "2", "reused")
    reader.reads("made = os.environ.get('RATES', 'none')", env={"RATES": 3})
    assert (reader.state(), reader.made()) == ("executed", "3")
    assert "parameter env.RATES 2 → 3" in reader.manifest()["steps"]["reader"]["reason"]
    reader.reads("made = len(os.environ.get('RATES', ''))", pass_env=["RAT*"])
    assert (reader.state(), reader.made()) == ("executed", "3")
    monkeypatch.setenv("RATES", "two, and a secret")
    assert reader.state() == "reused"
    assert "secret" not in str([run.data for run in reader.runs()])


@pytest.mark.parametrize("address", ["{url}", " {url}"])
def test_a_web_address_is_asked_again_wherever_it_stands(address, reader):
    address = address.replace("{url}", "http://127.0.0.1:9/x.csv")
    reader.reads("made = 'nothing fetched'", default=address)
    assert [reader.state(), reader.state()] == ["executed", "executed"]
    assert "may have changed" in reader.manifest()["steps"]["reader"]["reason"]


def take_a_sha256(reader: Reader) -> None:
    project = reader.folder / "reader" / "MLproject"
    text = project.read_text().replace("    parameters:\n", "    parameters:\n      sha256: {default: abc}\n")
    project.write_text(text)


def test_a_sha256_that_the_step_does_not_check_pins_nothing(reader):
    reader.reads("made = 'nothing fetched'", given="http://127.0.0.1:9/x.csv")
    project = reader.folder / "reader" / "MLproject"
    project.write_text(
        project.read_text().replace("    parameters:\n", "    parameters:\n      sha256: {default: abc}\n")
    )
    assert [reader.state(), reader.state()] == ["executed", "executed"]
    reader.reads("made = mlflow.set_tag('source.sha256', 'abc')", given="http://127.0.0.1:9/x.csv")
    project.write_text(
        project.read_text().replace("    parameters:\n", "    parameters:\n      sha256: {default: abc}\n")
    )
    assert [reader.state(), reader.state()] == ["executed", "reused"]


@pytest.mark.parametrize("what", ["input", "code", "read"])
def test_what_is_replaced_while_the_step_runs_and_put_back_is_noticed(what, reader):
    outside = reader.folder.parent / "outside"
    file = {"input": outside / "x", "code": reader.folder / "reader" / "late.py", "read": outside / "y"}[what]
    wait = (
        "import time; Path('../../outside/running').touch()\n"
        "    while not Path('../../outside/go').exists(): time.sleep(.05)"
    )
    body = {
        "input": f"{wait}; made = Path(sys.argv[1]).read_text()".replace("; made", "\n    made"),
        "code": f"{wait}\n    from late import made",
        "read": f"open('../../outside/y').close()\n    {wait}\n    made = Path('../../outside/y').read_text()",
    }[what]
    reader.reads(body, given=str(outside / "x"))
    for path in (outside / "x", outside / "y", reader.folder / "reader" / "late.py"):
        path.write_text("made = 'good'")
    process = reader.start()
    reader.wait_for("started", process)
    while not (outside / "running").exists():
        assert process.poll() is None
    kept = file.with_name("kept")
    file.rename(kept)
    file.write_text("made = 'bad'")
    (outside / "go").touch()
    out, _ = process.communicate(timeout=HANG)
    assert process.returncode == 0
    assert "changed while it ran" in out
    assert "bad" in reader.made()
    kept.replace(file)
    assert reader.state() == "executed"
    assert "good" in reader.made()
    assert reader.state() == "reused"


def test_a_thousand_files_that_are_read_count_each(reader):
    outside = reader.folder.parent / "outside"
    for number in range(1000):
        (outside / f"{number}.txt").write_text("one")
    reader.reads("made = [Path('../../outside', f'{n}.txt').read_text() for n in range(1000)]")
    assert [reader.state("journal=false"), reader.state("journal=false")] == ["executed", "reused"]
    (outside / "777.txt").write_text("two")
    assert reader.state("journal=false") == "executed"
    assert "777.txt, which it read, changed" in reader.manifest()["steps"]["reader"]["reason"]


def test_metrics_altered_in_the_store_are_not_handed_on(reader):
    reader.reads("made = mlflow.log_metric('m', 0.5)")
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    (run,) = [run for run in reader.runs() if run.info.run_name == "reader"]
    mlflow.MlflowClient().log_metric(run.info.run_id, "m", 0.75)
    assert reader.state() == "executed"
    assert "the metrics of run" in reader.manifest()["steps"]["reader"]["reason"]


def test_metrics_are_handed_on_to_the_last_digit(reader):
    numbers = {"inf": "inf", "-inf": "-inf", "nan": "nan", "0.1 + 0.2": "0.30000000000000004", "3": "3"}
    numbers |= {"2**53": "9007199254740992", "1e300": "1e+300", "-0.5": "-0.5"}
    body = "import math\n    inf, nan = math.inf, math.nan\n    made = 0\n"
    body += "".join(f"    mlflow.log_metric('m{i}', {number})\n" for i, number in enumerate(numbers))
    reader.reads(body)
    reader.step("b", parameters={"text": " ".join(f"${{metric:reader,m{i}}}" for i in range(len(numbers)))})
    assert reader.run().code == 0
    made = mlflow.artifacts.load_text(f"runs:/{reader.manifest()['steps']['b']['run_id']}/out.txt")
    assert made.split() == list(numbers.values())


def test_a_registered_model_meta_counts_but_beside_an_mlmodel(tmp_path):
    from pipeline.files import content_digest

    (tmp_path / "registered_model_meta").write_text("one")
    first = content_digest(tmp_path)
    (tmp_path / "registered_model_meta").write_text("two")
    second = content_digest(tmp_path)
    assert first != second
    (tmp_path / "MLmodel").write_text("flavors: {}")
    third = content_digest(tmp_path)
    (tmp_path / "registered_model_meta").unlink()
    assert content_digest(tmp_path) == third


def test_a_file_name_that_is_not_utf_8_is_a_file_name(reader):
    reader.reads("made = 1")
    Path(os.fsdecode(os.fsencode(reader.folder / "reader") + b"/caf\xe9.txt")).write_text("one")
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    Path(os.fsdecode(os.fsencode(reader.folder / "reader") + b"/caf\xe9.txt")).write_text("two")
    assert reader.state() == "executed"


def test_what_was_read_is_an_artifact_of_the_run(reader):
    outside = reader.folder.parent / "outside"
    (outside / "x").write_text("one")
    reader.reads("made = Path('../../outside/x').read_text()")
    assert reader.state() == "executed"
    run_id = reader.manifest()["steps"]["reader"]["run_id"]
    read = json.loads(mlflow.artifacts.load_text(f"runs:/{run_id}/pipeline/reads.json"))
    assert list(read) == [os.path.relpath(outside / "x", reader.folder)]


def test_a_file_that_was_looked_for_in_vain_counts_when_it_appears(reader):
    body = "try: made = open('../../outside/opt.txt').read()\n    except FileNotFoundError: made = 'none'"
    reader.reads(body)
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    (reader.folder.parent / "outside" / "opt.txt").write_text("there")
    assert (reader.state(), reader.made()) == ("executed", "there")


def test_another_pythonpath_is_another_environment(reader, monkeypatch):
    for name in ("one", "two"):
        (reader.folder.parent / name).mkdir()
        (reader.folder.parent / name / "rates.py").write_text(f"made = {name!r}")
    reader.reads("from rates import made")
    for name in ("one", "two"):
        monkeypatch.setenv("PYTHONPATH", str(reader.folder.parent / name))
        assert (reader.state(), reader.made()) == ("executed", name)


def test_what_comes_and_goes_with_the_step_does_not_count(reader):
    body = (
        "open('../../outside/part', 'w').write('x'); os.replace('../../outside/part', '../../outside/whole')\n"
        "    made = open('../../outside/whole').read(); os.remove('../../outside/whole')"
    )
    reader.reads(body)
    assert [reader.state(), reader.state()] == ["executed", "reused"]


def test_a_read_file_whose_name_is_not_utf_8_changes_and_is_named(reader):
    file = Path(os.fsdecode(os.fsencode(reader.folder.parent / "outside") + b"/caf\xe9.txt"))
    file.write_text("one")
    reader.reads("made = open(os.fsencode('../../outside/') + b'caf\\xe9.txt').read()")
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    file.write_text("two")
    assert (reader.state(), reader.made()) == ("executed", "two")


def test_an_output_may_have_any_name(reader):
    reader.reads("made = mlflow.log_text('x', 'a(b).txt')")
    assert [reader.state(), reader.state("journal=false")] == ["executed", "reused"]
    assert set(reader.manifest()["steps"]["reader"]["outputs"]) == {"a(b).txt", "out.txt"}


def test_a_variable_of_a_step_is_there_when_libraries_are_imported(reader, tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "rates.py").write_text("made = 'from lib'")
    reader.reads("from rates import made", env={"PYTHONPATH": str(tmp_path / "lib")})
    assert (reader.state(), reader.made()) == ("executed", "from lib")
    reader.reads("import matplotlib; made = matplotlib.get_backend()", env={"MPLBACKEND": "svg"})
    assert (reader.state(), reader.made()) == ("executed", "svg")


def test_a_folder_in_an_input_that_held_only_folders_counts(reader):
    given = reader.folder.parent / "given"
    (given / "x" / "y").mkdir(parents=True)
    (given / "x" / "y" / "f").write_text("f")
    reader.reads("made = sorted(p.name for p in Path(sys.argv[2]).rglob('*'))", folder=str(given))
    assert [reader.state(), reader.state()] == ["executed", "reused"]
    (given / "x" / "g").write_text("g")
    assert reader.state() == "executed"
    assert "g" in reader.made()


def test_a_file_that_a_step_leaves_in_its_own_folder_is_named(reader):
    reader.reads("made = 'x'; Path('left.txt').write_text(made)")
    done = reader.run()
    assert done.code == 0
    assert "warning   reader/left.txt appeared in its own folder while it ran" in done.out
    reader.reads("made = 'y'; Path('left.pyc').write_text(made)")
    assert "appeared" not in reader.run().out, "neither what was there, nor what does not count"


def test_a_command_of_any_language_leaves_its_record_in_step_outputs(toy):
    toy.step("plain")
    program = """
        echo made >"$STEP_OUTPUTS/out.txt"
        echo '{"rows": many}' >"$STEP_OUTPUTS/metrics.json"
        echo '{"data.source": "a shop"}' >"$STEP_OUTPUTS/tags.json"
    """
    project = {"entry_points": {"main": {"parameters": {"text": "string"}, "command": "bash step.sh"}}}
    (toy.folder / "plain" / "MLproject").write_text(yaml.safe_dump(project))
    (toy.folder / "plain" / "step.sh").write_text(program)
    toy.config["pipeline"]["plain"]["summary_metrics"] = ["rows"]
    toy.save()
    assert "failed    its metrics.json is not of the form" in re.sub(r"[0-9.]+ s +", "", toy.run().out)
    (toy.folder / "plain" / "step.sh").write_text(program.replace("many", "3"))
    assert toy.run().code == 0
    made = toy.manifest()["steps"]["plain"]
    assert made["metrics"] == {"rows": 3} and list(made["outputs"]) == ["out.txt"]
    assert mlflow.get_run(made["run_id"]).data.tags["data.source"] == "a shop"
    assert toy.run().code == 0 and toy.states() == {"plain": "reused"}
