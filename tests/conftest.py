"""What the tests share: the real list where it is there, a real store, and real `mlflow run`s."""

import contextlib
import functools
import http.server
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.pipeline import kubernetes_api
    from tests.pipeline.slurm_cluster import Cluster

ROOT = Path(__file__).resolve().parent.parent
# Whoever started the tests may have had these ignored (`nohup`, a shell's `&`), and what they start inherits that.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    signal.signal(number, handler)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # it leaves a session of its own in the environment
for name in ("MAKELEVEL", "MAKEFLAGS", "MFLAGS"):  # `make test`: with these, a make that a test starts prints more
    os.environ.pop(name, None)
# What pytest, scikit-learn, PySpark and the pipeline set wherever they run, each the same every time.
OWN = {"PYTEST_CURRENT_TEST", "HYDRA_FULL_ERROR"}
OWN |= {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "SPARK_AUTH_SOCKET_TIMEOUT", "SPARK_BUFFER_SIZE"}
OWN |= {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"}
REAL_LIST = ROOT.parent / "shared" / "data" / "titanic.csv"


@pytest.fixture(autouse=True)
def surroundings() -> Iterator[None]:
    """What a test changes of its process it undoes: the next one starts processes from there."""
    folder, variables = Path.cwd(), dict(os.environ)
    yield
    changed = sorted(n for n in variables | os.environ if variables.get(n) != os.environ.get(n) and n not in OWN)
    assert not changed, f"left changed in the environment: {', '.join(changed)}"
    assert Path.cwd() == folder, "the working directory was left changed"


@pytest.fixture(scope="session")
def real_list() -> Path:
    """The published passenger list, 891 rows; not part of the project."""
    if not REAL_LIST.is_file():
        pytest.skip(f"the real list is not at {REAL_LIST}")
    return REAL_LIST


@pytest.fixture(scope="session")
def passenger_list() -> Path:
    """The real list where it is there, else the sample that ships: what must hold on any clone."""
    return REAL_LIST if REAL_LIST.is_file() else ROOT / "data" / "titanic_sample.csv"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store with its tables made, once: making them takes longer than most tests."""
    import mlflow

    path = tmp_path_factory.mktemp("empty_store") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh SQLite store of the test's own; the tracking URI, set for the test and its processes."""
    import mlflow

    shutil.copy(empty_store, tmp_path / "mlflow.db")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    if client.get_experiment_by_name("test") is None:
        client.create_experiment("test", artifact_location=(tmp_path / "artifacts").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "test")
    yield uri
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Cluster"]:
    """A Slurm cluster of three nodes."""
    from tests.pipeline.slurm_cluster import cluster, missing

    if programs := missing():
        pytest.skip(f"{', '.join(programs)} not on this machine: apt-get install slurm-wlm munge")
    with cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["kubernetes_api.Cluster"]:
    """An API of Kubernetes with one image, `pipeline:1`, which has pipeline/ and nothing else."""
    from tests.services import needs

    needs("kubernetes", "kubernetes_validate")
    from tests.pipeline import kubernetes_api

    image, folder = tmp_path / "image", tmp_path / "cluster"
    shutil.copytree(ROOT / "pipeline", image / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    folder.mkdir()
    cluster = kubernetes_api.Cluster(folder, {"pipeline:1": image})
    with kubernetes_api.served(cluster) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield cluster


@dataclass
class Finished:
    """A process that ended: its exit code, what it printed, and the newest MLflow run."""

    code: int
    out: str
    err: str
    run: "object | None" = None

    def artifact(self, path: str) -> Path:
        """The artifact's local path."""
        import mlflow

        return Path(mlflow.artifacts.download_artifacts(run_id=self.run.info.run_id, artifact_path=path))


@pytest.fixture
def mlflow_run(store: str) -> Callable[..., Finished]:
    """`mlflow run PROJECT --env-manager local -P name=value …`, for real; the result with its run."""
    import mlflow

    def run(project: str | Path, *arguments: str, env: dict[str, str] | None = None, **parameters: object) -> Finished:
        command = [sys.executable, "-m", "mlflow", "run", str(ROOT / project), "--env-manager", "local", *arguments]
        for name, value in parameters.items():
            command += ["-P", f"{name}={value}"]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            command, capture_output=True, text=True, env=os.environ | {"PATH": path} | (env or {}), timeout=300
        )
        print(shlex.join(command), done.stdout, done.stderr, sep="\n")
        runs = mlflow.search_runs(search_all_experiments=True, max_results=1, output_format="list")
        return Finished(done.returncode, done.stdout, done.stderr, runs[0] if runs else None)

    return run


def cloned(folder: Path) -> Path:
    """A copy of the project's own files in `folder`, as a clone has them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def project(tmp_path: Path, store: str) -> Path:
    """A clone, with a fresh store."""
    return cloned(tmp_path / "clone")


@pytest.fixture
def run(project: Path):
    """Run a command in the clone, with this interpreter's `mlflow` and `python` first on the path."""

    def run(*command: str) -> Finished:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            command, cwd=project, capture_output=True, text=True, env=os.environ | {"PATH": path}, timeout=400
        )
        print(command, done.stdout, done.stderr, sep="\n")
        return Finished(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def manifest(project: Path):
    """What the last run of the clone's pipeline came to."""
    return lambda: json.loads((project / "outputs" / "manifest.json").read_text())


@contextlib.contextmanager
def served_folder(folder: Path) -> Iterator[str]:
    """The address on loopback under which the folder's files can be fetched."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
