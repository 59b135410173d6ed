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

import pytest
from saved_model import open_model

from tests.example_tables import TITANIC, model_columns
from tests.step_programs import command_line

pytestmark = pytest.mark.integration

STEP = Path(__file__).resolve().parents[2] / "inference"
FEATURES = model_columns(TITANIC)
MAN = {"Pclass": 3, "Sex": "male", "Age": None, "SibSp": 0, "Parch": 0, "Fare": 7.25}
WOMAN = MAN | {"Pclass": 1, "Sex": "female", "Age": 22, "Fare": 70}
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
    said = (folder / "log").read_text()
    assert said.splitlines()[-1] == "inference: stopped"
    assert "Traceback" not in said
    assert "dog" not in said


@pytest.fixture(scope="module")
def expected(model_folder):
    """What the model itself says of MAN and WOMAN."""
    import pandas as pd

    frame = pd.DataFrame([MAN, WOMAN]).fillna(float("nan"))
    estimator = open_model(model_folder).estimator
    pairs = zip(estimator.predict(frame).tolist(), estimator.predict_proba(frame)[:, 1].round(10).tolist(), strict=True)
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
        ('Name,Pclass,Sex,Age,SibSp,Parch,Fare\n"Doe, Mr.\nJo",3,male,,0,0,7.25\n,1,female,22,0,0,70\n', CSV),
        (
            '\ufeffPclass , Sex,Age,SibSp,Parch,Fare\r\n 3 ,MALE,NA,0,0,"7,25"\r\n\r\n1,female,22.0,0,0,7e1',
            f"{CSV}; charset=UTF-8",
        ),
        ({"inputs": [MAN | {"Age": float("nan"), "Pclass": "3"}, WOMAN | {"Fare": "70"}]}, JSON),
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
        {"dataframe_split": {"columns": ["Pclass", "Age"], "data": [[3, 22]]}},
    ):
        status, answer = ask(server, body)
        assert status == 400
        assert "missing fields: " in answer["message"]
        assert "Sex" in answer["message"]
    status, answer = ask(server, "Pclass,Name\n3,Doe\n", CSV)
    assert (status, answer["message"]) == (400, "missing fields: Sex, Age, SibSp, Parch, Fare")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("Age", "old", "Age_not_a_number ('old'; must be a number)"),
        ("Age", [22], "Age is a list or an object; give one value"),
        ("Age", {"years": 22}, "Age is a list or an object; give one value"),
        ("Age", True, "Age_not_a_number ('true'; must be a number)"),
        ("Age", 200, "Age_out_of_range ('200'; must be: 0 to 120)"),
        ("Pclass", 7, "Pclass_not_allowed ('7'; must be: 1, 2, 3)"),
        ("Pclass", 2.5, "Pclass_not_a_whole_number ('2.5'; must be a whole number)"),
        ("Sex", "unknown", "Sex_not_allowed ('unknown'; must be: female, male)"),
        ("Sex", "x\n" * 99, "Sex_not_allowed ('" + r"x\n" * 12 + r"x\…; must be: female, male)"),
        ("Fare", float("inf"), "Fare_not_a_number ('Infinity'; must be a number)"),
        ("Fare", 10**400, f"Fare_not_a_number ('1{'0' * 37}…; must be a number)"),
    ],
)
def test_a_field_that_breaks_the_declaration_is_a_400_that_names_it(server, field, value, said):
    bad = WOMAN | {field: value}
    forms = [
        {"dataframe_records": [WOMAN, bad]},
        {"dataframe_split": {"columns": list(bad), "data": [list(WOMAN.values()), list(bad.values())]}},
        {"inputs": [WOMAN, bad]},
        {"instances": columns(WOMAN, bad)},
    ]
    for body in forms:
        assert ask(server, body) == (400, {"error_code": "BAD_REQUEST", "message": f"row 2: {said}"})


def test_a_cell_of_a_csv_that_breaks_the_declaration_is_a_400_that_names_it(server):
    status, answer = ask(server, ",".join(MAN) + "\n3,male,old,0,0,7.25\n", CSV)
    assert (status, answer["message"]) == (400, "row 1: Age_not_a_number ('old'; must be a number)")


def test_no_more_than_five_bad_rows_are_named(server):
    status, answer = ask(server, {"inputs": [WOMAN] + [WOMAN | {"Age": -1, "Sex": "x"}] * 8})
    assert status == 400
    assert answer["message"].startswith("row 2: Sex_not_allowed ('x'; must be: female, male), Age_out_of_range ('-1'; ")
    assert answer["message"].count("row ") == 5
    assert answer["message"].endswith("; and 3 more rows")


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
    (b'{"inputs": {"Pclass": 3, "Sex": "\\ud800", "Age": 1, "SibSp": 0, "Parch": 0, "Fare": 7}}', JSON, 400),
    (b'{"inputs": {"Pclass": [3], "Sex": "male", "Age": 1, "SibSp": 0, "Parch": 0, "Fare": 7}}', JSON, 400),
    (b'{"inputs": ' + b"9" * 5000 + b"}", JSON, 400),
    (b'Pclass,Name\n3,"Doe', CSV, 400),
    (b"Pclass,Sex,Age,SibSp,Parch,Fare\n3,male,22,0,0\n", CSV, 400),
    (b"Pclass,Sex,Age,SibSp,Parch,Fare,Age\n3,male,22,0,0,7,22\n", CSV, 400),
    (b"Pclass,Sex,Age,SibSp,Parch,Fare\n3,male,\0,0,0,7\n", CSV, 400),
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


def test_a_header_alone_has_no_predictions(server):
    assert ask(server, ",".join(MAN) + "\n", CSV) == (200, {"predictions": []})


def test_the_request_is_described_by_the_declaration(server):
    def get(path):
        with urllib.request.urlopen(server + path, timeout=10) as answer:  # noqa: S310
            return answer.read().decode()

    assert "swagger" in get("/docs")
    document = json.loads(get("/openapi.json"))
    row = document["components"]["schemas"]["Row"]
    assert (row["title"], list(row["properties"]), row["required"]) == ("passenger", FEATURES, FEATURES)
    age = row["properties"]["Age"]
    assert {"type": "number", "minimum": 0, "maximum": 120, "unit": "years"} in age["anyOf"]
    assert age["title"] == "Age"
    assert age["description"].startswith("Age; below one year as a fraction")
    assert {"type": "string", "enum": ["female", "male"]} in row["properties"]["Sex"]["anyOf"]
    assert get("/ping") == get("/health") == "\n"
    assert get("/version") == "3.17.2"
    example = document["paths"]["/invocations"]["post"]["requestBody"]["content"][JSON]["example"]
    status, answer = ask(server, example)
    assert (status, list(answer["predictions"][0])) == (200, ["Survived", "probability"])


@pytest.fixture
def to_score(passengers, tmp_path):
    path = tmp_path / "passengers.csv"
    TITANIC.write(passengers.head(50), path)
    return path


def test_the_server_says_what_batch_and_pyfunc_say(server, model_folder, passengers, to_score, tmp_path):
    import mlflow
    from batch_scoring import score_file

    score_file(to_score, tmp_path / "out.csv", open_model(model_folder))
    batch = [line.split(",")[1:] for line in (tmp_path / "out.csv").read_text().splitlines()[1:]]
    records = json.loads(passengers.head(50).to_json(orient="records"))
    for body, kind in ((to_score.read_text(), CSV), ({"dataframe_records": records}, JSON)):
        served = ask(server, body, kind)[1]["predictions"]
        assert [[str(one["Survived"]), repr(one["probability"])] for one in served] == batch
    pyfunc = mlflow.pyfunc.load_model(str(model_folder))
    assert [str(value) for value in pyfunc.predict(passengers.head(50)[FEATURES])] == [row[0] for row in batch]


@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("curl", ["sh", "client.sh"]),
        (sys.executable, [sys.executable, "client.py"]),
        ("java", ["java", "Client.java"]),
        ("node", ["node", "client.js"]),
        ("Rscript", ["Rscript", "client.R"]),
    ],
)
def test_the_example_clients_work(server, to_score, program, command):
    if not shutil.which(program):
        pytest.skip(f"{program} is not on this machine")
    if (
        program == "Rscript"
        and subprocess.run(["Rscript", "-e", "curl::curl_version()"], capture_output=True).returncode
    ):
        pytest.skip("R on this machine is without its package curl (Debian: r-cran-curl)")
    done = subprocess.run(
        [*command, to_score, server], cwd=STEP / "clients", capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ask(server, to_score.read_text(), CSV)[1]
    to_score.write_text(to_score.read_text().replace("male", "dog"))
    bad = subprocess.run([*command, to_score, server], cwd=STEP / "clients", capture_output=True, text=True, timeout=60)
    assert bad.returncode != 0
    assert "Sex_not_allowed" in bad.stdout + bad.stderr


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
    assert "no registered model has a champion; train and evaluate one first" in refused(tmp_path, port=free_port())
    uri = "models:/titanic@champion"
    assert f"{uri} could not be downloaded" in refused(tmp_path, port=free_port(), model=uri)
    said = refused(tmp_path, port=free_port(), host="0.0.0.0", model=model_folder)  # noqa: S104
    assert said.startswith("inference: host=0.0.0.0 can be reached from other machines and there is no API key; set ")
    assert "port='0' is not a whole number from 1 to 65535" in refused(tmp_path, port=0)
