"""What leans on MLflow's private parts, held against the MLflow installed; and that steps run without any of it."""

import inspect
from pathlib import Path

import mlflow
import pytest
from mlflow.projects import _project_spec
from mlflow.projects.backend import loader
from mlflow.projects.backend.local import LocalBackend
from mlflow.projects.utils import load_project
from mlflow.utils.virtualenv import _create_virtualenv

from pipeline.execution import mlflow_internals
from pipeline.execution.mlflow_internals import (
    StepBackend,
    dispose_connections,
    ensure_environment,
    missing_environment,
)

PROJECT = """
name: a
python_env: python_env.yaml
entry_points:
  main:
    parameters: {x: string}
    command: python run.py --x {x}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "MLproject").write_text(PROJECT)
    (tmp_path / "python_env.yaml").write_text("python: '3.11'\ndependencies: []\n")
    return tmp_path


def test_the_backend_takes_the_stock_ones_place_and_is_called_as_it_is():
    assert set(loader.MLFLOW_BACKENDS) >= {"local"}
    stock, ours = inspect.signature(LocalBackend.run), inspect.signature(StepBackend.run)
    assert list(stock.parameters) == list(ours.parameters)
    assert issubclass(StepBackend, LocalBackend)


def test_environments_are_built_with_the_arguments_that_mlflow_takes():
    assert {"env_manager", "extra_env", "capture_output"} <= set(inspect.signature(_create_virtualenv).parameters)


def test_the_command_of_an_entry_point_is_read_as_mlflow_reads_it(project):
    assert mlflow_internals.entry_point_command(str(project), "main") == "python run.py --x {x}"


def test_a_project_is_read_by_the_parser_in_c_as_by_mlflow(project, monkeypatch):
    monkeypatch.setattr(_project_spec, "yaml", _project_spec.yaml)
    monkeypatch.setitem(loader.MLFLOW_BACKENDS, "local", LocalBackend)
    parameters = "{a: 1e3, ü: {type: path, default: 0o7}, b: {default: 12:30}, c: {default: yes}, d: {default: 1.50}}"
    (project / "MLproject").write_text(f"{PROJECT}\n  other: {{parameters: {parameters}, command: 'echo: \"1\"'}}\n")

    def read() -> dict[str, object]:
        points = load_project(str(project))._entry_points
        return {name: (one.command, [vars(p) for p in one.parameters.values()]) for name, one in points.items()}

    by_mlflow = read()
    mlflow_internals.use_step_backend(None)
    assert set(by_mlflow) == {"main", "other"}
    assert read() == by_mlflow


def test_an_open_store_has_no_connection_left_after_disposing(store):
    mlflow.MlflowClient().search_experiments(max_results=1)
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    engines = list(SqlAlchemyStore._engine_map.values())
    assert sum(engine.pool.checkedin() for engine in engines) >= 1, "nothing was open: this test would prove nothing"
    dispose_connections()
    assert [engine.pool.checkedin() for engine in engines] == [0] * len(engines)


def test_only_uv_and_virtualenv_have_environments_of_ours(project):
    assert ensure_environment(str(project), "local") is None
    assert ensure_environment(str(project), "conda") is None


@pytest.mark.integration
def test_an_environment_is_where_mlflow_looks_for_it(project, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "environments"))
    environment = ensure_environment(str(project), "uv")
    made = (environment / "bin" / "python").stat().st_mtime_ns
    (project / "run.py").write_text("import sys; open('where', 'w').write(sys.prefix)")
    mlflow.run(str(project), parameters={"x": "1"}, env_manager="uv")
    assert Path((project / "where").read_text()) == environment
    assert (environment / "bin" / "python").stat().st_mtime_ns == made, "MLflow built it again"


@pytest.mark.parametrize(
    ("dependencies", "cached", "builds"),
    [
        (["-r requirements.lock", "a==1"], True, ["1"]),
        (["a==1", "-c requirements.lock"], True, ["1"]),
        (["-r requirements.lock", "a==1"], False, ["1", None]),
        (["a"], True, [None]),
    ],
)
def test_what_is_locked_is_looked_for_in_the_cache_first(project, tmp_path, monkeypatch, dependencies, cached, builds):
    (project / "requirements.lock").write_text("a==1\n")
    (project / "python_env.yaml").write_text(f"python: '3.11'\ndependencies: {dependencies}\n")
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "environments"))
    asked = []

    def create(_folder, _python, environment, extra_env=None, **_):
        asked.append((extra_env or {}).get("UV_OFFLINE"))
        if extra_env and not cached:
            raise mlflow_internals.ShellCommandException("not in the cache")
        environment.mkdir()

    monkeypatch.setattr(mlflow_internals, "_create_virtualenv", create)
    assert ensure_environment(str(project), "uv").is_dir()
    assert asked == builds


def test_an_environment_that_is_being_built_or_was_left_half_built_is_missing(project, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ENV_ROOT", str(tmp_path / "environments"))
    environment = missing_environment(str(project))
    assert environment and environment.parent == tmp_path / "environments"
    environment.mkdir(parents=True)
    assert missing_environment(str(project)) is None
    environment.with_name(f"{environment.name}.building").touch()
    assert missing_environment(str(project)) == environment


@pytest.mark.integration
def test_steps_run_on_the_stock_backend_where_the_private_parts_are_gone(toy):
    """As a new release of MLflow would break them."""
    (toy.folder / "pipeline" / "execution" / "mlflow_internals.py").write_text("raise ImportError('gone')")
    toy.step("a")
    toy.step("b", reads="a")
    assert toy.run().code == 0
    assert toy.states() == {"a": "executed", "b": "executed"}
    assert toy.run().code == 0
    assert toy.states() == {"a": "reused", "b": "reused"}
    done = toy.run("b.do=fail:no way")
    assert done.code == 1
    assert "no way" in done.out
