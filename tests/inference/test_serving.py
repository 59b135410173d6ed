"""The scoring server, for real: a process, asked over HTTP."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import make_sample
import pytest

from tests.inference.small_model import FEATURES
from tests.step_programs import command_line

pytestmark = pytest.mark.integration

STEP = Path(__file__).resolve().parents[2] / "inference"
MAN = {
    "Pclass": 3,
    "Name": "Doe, Mr. Jo",
    "Sex": "male",
    "Age": None,
    "SibSp": 0,
    "Parch": 0,
    "Fare": 7.25,
    "Embarked": "S",
}
WOMAN = MAN | {"Pclass": 1, "Name": 'Doe, Miss. "Jo"', "Sex": "female", "Age": 22, "Fare": 70, "Embarked": None}
JSON, CSV = "application/json", "text/csv"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url: str, body: bytes | str | dict, kind: str = JSON, path: str = "/invocations") -> tuple[int, dict]:
    """Status and JSON of the answer."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body.encode() if isinstance(body, str) else body
    request = urllib.request.Request(url + path, data, {"Content-Type": kind})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def wait_until_up(url: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        try:
            with urllib.request.urlopen(f"{url}/ping", timeout=1):  # noqa: S310
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not come up")


def is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def server(model_folder, tmp_path_factory):
    """The server's URL."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    words = command_line("inference", "serve", model=model_folder, port=port, max_bytes=1_000_000)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, *words], cwd=STEP, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    wait_until_up(url, process)
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert is_free(port)


@pytest.fixture(scope="module")
def expected(model_folder):
    """What the model itself says of MAN and WOMAN."""
    import numpy as np
    import pandas as pd
    from model_files import load

    model = load(str(model_folder)).classifier
    frame = pd.DataFrame([MAN, WOMAN]).fillna(np.nan)
    pairs = zip(model.predict(frame).tolist(), model.predict_proba(frame)[:, 1].round(10).tolist(), strict=True)
    return [{"Survived": survived, "probability": probability} for survived, probability in pairs]


def columns(*passengers: dict) -> dict:
    return {name: [passenger[name] for passenger in passengers] for name in MAN}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"dataframe_records": [MAN, WOMAN]}, JSON),
        ({"dataframe_split": {"columns": list(MAN), "data": [list(MAN.values()), list(WOMAN.values())]}}, JSON),
        ({"instances": [MAN, WOMAN]}, JSON),
        ({"instances": columns(MAN, WOMAN)}, JSON),
        ({"inputs": [MAN, WOMAN]}, JSON),
        ({"inputs": columns(MAN, WOMAN)}, f"{JSON}; charset=utf-8"),
        (
            'Pclass,Name,Sex,Age,SibSp,Parch,Fare,Embarked\n3,"Doe, Mr. Jo",male,,0,0,7.25,S\n'
            '1,"Doe, Miss. ""Jo""",female,22,0,0,70,\n',
            CSV,
        ),
    ],
)
def test_every_form_that_mlflow_knows_gets_the_same_answer(server, expected, body, kind):
    assert ask(server, body, kind) == (200, {"predictions": expected})


def test_one_passenger_alone_and_in_another_order_with_further_fields(server, expected):
    full = {"PassengerId": 1, "Survived": 0, "Cabin": None, "Ticket": "007"} | dict(reversed(MAN.items()))
    assert ask(server, {"inputs": full}) == (200, {"predictions": expected[:1]})
    assert ask(server, {"dataframe_records": [full]}) == (200, {"predictions": expected[:1]})


@pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs"])
@pytest.mark.parametrize("name", FEATURES)
def test_a_missing_field_is_a_400_that_names_it(server, form, name):
    lacking = {key: value for key, value in WOMAN.items() if key != name}
    for records in ([lacking], [WOMAN, lacking]):
        status, answer = ask(server, {form: records})
        assert (status, answer["error_code"]) == (400, "BAD_REQUEST")
        assert answer["message"] == f"row {len(records)}: missing fields: {name}"


def test_a_missing_column_is_a_400_that_names_it(server):
    for body in (
        {"inputs": {name: [value] for name, value in MAN.items() if name != "Sex"}},
        {"dataframe_split": {"columns": ["Pclass", "Name"], "data": [[3, "Doe, Mr. Jo"]]}},
    ):
        status, answer = ask(server, body)
        assert status == 400
        assert "missing fields: " in answer["message"]
        assert "Sex" in answer["message"]
    status, answer = ask(server, "Pclass,Name\n3,Doe\n", CSV)
    assert status == 400
    assert "missing fields: Sex, Age" in answer["message"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Age", "old"),
        ("Age", "22"),
        ("Age", [22]),
        ("Age", {"years": 22}),
        ("Age", True),
        ("Age", -3),
        ("Pclass", 7),
        ("Pclass", 2.5),
        ("Pclass", None),
        ("Name", 5),
        ("Sex", "unknown"),
        ("Fare", float("inf")),
    ],
)
def test_a_mistyped_field_is_a_400_that_names_it(server, field, value):
    bad = WOMAN | {field: value}
    forms = [
        {"dataframe_records": [WOMAN, bad]},
        {"dataframe_split": {"columns": list(bad), "data": [list(bad.values())]}},
    ]
    forms += [{"inputs": [bad]}, {"inputs": bad}] if not isinstance(value, list | dict) else []
    for body in forms:
        status, answer = ask(server, body)
        assert status == 400
        assert field in answer["message"]


def test_a_mistyped_cell_of_a_csv_is_a_400_that_names_it(server):
    status, answer = ask(server, ",".join(MAN) + '\n3,"Doe, Mr. Jo",male,old,0,0,7.25,S\n', CSV)
    assert (status, answer["message"]) == (400, "row 1: Age 'old' is not a number")


NONSENSE = [
    (b"", JSON, 400),
    (b"hello", JSON, 400),
    (b"\xff\xfe\x00", JSON, 400),
    (b"[1, 2]", JSON, 400),
    (b"null", JSON, 400),
    (b"{}", JSON, 400),
    (b"[" * 100_000, JSON, 400),
    (b'{"dataframe_records": 5}', JSON, 400),
    (b'{"dataframe_records": []}', JSON, 400),
    (b'{"dataframe_records": [5]}', JSON, 400),
    (b'{"dataframe_split": 5}', JSON, 400),
    (b'{"dataframe_split": {"columns": ["Age"], "data": [[1, 2]]}}', JSON, 400),
    (b'{"dataframe_split": {"columns": ["Age", "Age"], "data": [[1, 2]]}}', JSON, 400),
    (b'{"instances": "x", "inputs": "y"}', JSON, 400),
    (b'{"instances": {"Age": [1, 2], "Sex": ["male"]}}', JSON, 400),
    (b'{"messages": [{"role": "user"}]}', JSON, 400),
    (b'{"dataframe_records": [{}], "params": 3}', JSON, 400),
    (b'Pclass,Name\n3,"Doe', CSV, 400),
    (b"a,b\n1,2\n3,4,5\n", CSV, 400),
    (b"\xff\xfe", CSV, 400),
    (b"Age\n", CSV, 400),
    (b"x", "text/plain", 415),
    (b"x", "", 415),
    (b"{}", "application/json; charset=latin-1", 415),
    (b"{}", "application/json; foo=bar", 415),
    (b"x" * 1_000_001, JSON, 413),
]


@pytest.mark.parametrize(("body", "kind", "status"), NONSENSE)
def test_nonsense_is_refused_in_one_sentence_without_trace_or_path(server, body, kind, status):
    try:
        got, answer = ask(server, body, kind)
    except urllib.error.URLError as error:  # the server may hang up on a body that it does not want
        assert status == 413, error
        return
    text = json.dumps(answer)
    assert got == status
    assert set(answer) == {"error_code", "message"}
    assert answer["message"]
    for secret in ("Traceback", 'File "', ".py", str(Path.home()), "site-packages", sys.prefix, "/tmp"):  # noqa: S108
        assert secret not in text


def test_other_addresses_are_refused_in_the_same_form(server):
    assert ask(server, b"x", path="/nothing") == (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "Not Found"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{server}/invocations", timeout=10)  # noqa: S310
    assert (caught.value.code, json.load(caught.value)["error_code"]) == (405, "METHOD_NOT_ALLOWED")


def test_many_at_once_each_get_their_own_answer(server, expected):
    pairs = [(MAN, expected[0]), (WOMAN, expected[1])] * 50
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda pair: ask(server, {"dataframe_records": [pair[0]]}), pairs))
    assert answers == [(200, {"predictions": [answer]}) for _, answer in pairs]


def test_the_server_says_what_batch_and_pyfunc_say(server, model_folder, tmp_path):
    import mlflow
    from batch_scoring import Scorer, score_file
    from model_files import load

    model = load(str(model_folder))
    passengers = make_sample.passengers(50, seed=3)
    passengers.to_csv(tmp_path / "in.csv", index=False)
    score_file(tmp_path / "in.csv", tmp_path / "out.csv", Scorer(model.classifier, model.kinds))
    batch = [line.split(",")[1:] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    forms = [
        ((tmp_path / "in.csv").read_text(), CSV),
        ({"dataframe_records": json.loads(passengers.to_json(orient="records"))}, JSON),
    ]
    for body, kind in forms:
        served = ask(server, body, kind)[1]["predictions"]
        assert [[str(one["Survived"]), repr(one["probability"])] for one in served] == batch
    pyfunc = mlflow.pyfunc.load_model(str(model_folder))
    assert [str(value) for value in pyfunc.predict(passengers[FEATURES])] == [row[0] for row in batch]


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("curl", ["sh", "client.sh"]),
        (sys.executable, [sys.executable, "client.py"]),
        ("java", ["java", "Client.java"]),
    ],
)
def test_the_example_clients_work(server, program, command):
    if not shutil.which(program):
        pytest.skip(f"{program} is not on this machine")
    done = subprocess.run([*command, server], cwd=STEP / "clients", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (prediction,) = json.loads(done.stdout)["predictions"]
    assert prediction["Survived"] == 1
    assert 0.5 < prediction["probability"] < 1


def test_started_by_mlflow_and_stopped_with_it_the_port_is_free_and_the_run_is_over(register, tmp_path):
    import mlflow

    register("champion")
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "run",
        str(STEP),
        "-e",
        "serve",
        "--env-manager",
        "local",
        "-P",
        f"port={port}",
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(
        command, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    wait_until_up(url, process)
    assert ask(url, {"inputs": [MAN]})[0] == 200
    process.send_signal(signal.SIGTERM)  # mlflow dies of it and tells its command nothing
    process.wait(20)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not is_free(port):
        time.sleep(0.1)
    assert is_free(port)
    while (run := mlflow.search_runs(output_format="list")[0]).info.status == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.info.status == "FINISHED"
    assert run.data.tags["model.version"] == "1"


def refused(store_folder: Path, **parameters: object) -> str:
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store_folder / 'mlflow.db'}"}
    command = [sys.executable, *command_line("inference", "serve", **parameters)]
    done = subprocess.run(command, cwd=STEP, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_a_port_that_is_taken_and_a_missing_model_are_said_in_one_sentence(store, tmp_path, model_folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = refused(tmp_path, model=model_folder, port=port)
    assert said.startswith(f"inference: cannot listen on host=127.0.0.1 port={port}")
    assert "models:/titanic@champion could not be downloaded" in refused(tmp_path, port=free_port())
