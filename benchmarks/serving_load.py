"""One row a request, 1, 8 and 32 clients that keep their connections: requests/s and latency of the server.

    python benchmarks/serving_load.py [--model models:/titanic@champion] [--mlflow] [--swaps 10] [--record]

Beside it a bare FastAPI application with the same model, and with --mlflow `mlflow models serve`; each with one worker,
one after the other in each round, so that a slower minute hits all. Without --model, training's own default model is
fitted on data/titanic_sample.csv's likes. --large N also asks how long single rows wait while a request of N rows is
answered; --swaps N moves the champion's alias to and fro N times while clients ask, and counts what is lost or mixed.
"""

import argparse
import asyncio
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "inference"), str(ROOT / "training"), str(ROOT / "data")]
from benchmarks.results import environment, machine, table, write_section  # noqa: E402

CLIENTS = (1, 8, 32)
NAMES = {"ours": "inference -e serve", "bare": "bare FastAPI", "mlflow": "mlflow models serve"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=1, help="the median of these counts")
    parser.add_argument("--large", type=int, default=0, metavar="N")
    parser.add_argument("--swaps", type=int, default=0, metavar="N")
    parser.add_argument("--mlflow", action="store_true")
    parser.add_argument("--record", action="store_true", help="write the table into benchmarks/RESULTS.md")
    parser.add_argument("--bare", type=int, default=0, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--load", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        return serve_bare(arguments.model, arguments.bare)
    if arguments.load:
        print(json.dumps(asyncio.run(load(**json.loads(arguments.load)))))
        return None
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = local_model(arguments.model, folder)
        row = one_row(model)
        which = ["ours", "bare"] + ["mlflow"] * arguments.mlflow
        found: dict[tuple[str, int], list[dict[str, float]]] = {}
        large = ""
        for _ in range(arguments.rounds):
            for one in which:
                with server(one, model, folder) as (port, pid):
                    for clients in CLIENTS:
                        figures = measured(port, pid, clients, arguments.seconds, row)
                        found.setdefault((one, clients), []).append(figures)
                    if arguments.large and one == "ours":
                        large = while_large(port, pid, arguments.large, row)
        swaps = while_swapping(arguments.swaps, folder) if arguments.swaps else ""
        busy = f"Load average on {os.cpu_count()} cores: {before:.1f} before it, {os.getloadavg()[0]:.1f} after it."
        text = report(which, found, large, swaps, busy)
        print(text)
        if arguments.record:
            write_section("serving load", f"## The server under load\n\n{machine()}\n\n{text}")


def local_model(uri: str, folder: Path) -> Path:
    """The model's folder; without URI a new one, of training's default recipe."""
    if uri:
        from saved_model import open_model

        return open_model(uri).folder
    from estimators import Recipe, hyperparameters
    from make_sample import passengers, write

    from tests.example_tables import TITANIC
    from tests.step_programs import defaults

    write(passengers(900), folder / "rows.csv")
    frame = TITANIC.read(folder / "rows.csv")
    kind = defaults("training")["model"]
    recipe = Recipe(TITANIC, kind, hyperparameters(TITANIC.task, kind, {}), 0)
    save(recipe.fit(frame), TITANIC, frame[recipe.columns].head(3), folder / "model")
    return folder / "model"


def save(estimator: Any, of: Any, example: Any, folder: Path) -> None:
    import skops_flavor

    skops_flavor.save_model(
        folder,
        estimator,
        of,
        list(example),
        background=example.assign(**{of.key.name: range(len(example))}),
        companions=None,
        example=example,
        pip_requirements=["mlflow==3.17.2", "scikit-learn==1.9.1", "skops==0.16.0"],
        python_version="3.11.0",
    )


def one_row(model: Path) -> dict[str, Any]:
    """The first row of the model's example."""
    example = json.loads((model / "input_example.json").read_text(encoding="utf-8"))
    return dict(zip(example["columns"], example["data"][0], strict=True))


@contextmanager
def server(which: str, model: Path | str, folder: Path, **settings: object) -> Iterator[tuple[int, int]]:
    """The server's port and process ID, while it runs."""
    port = free_port()
    store = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "PYTHONPATH": str(ROOT / "inference")}
    if which == "ours":
        from tests.step_programs import command_line

        command, place = (
            [sys.executable, *command_line("inference", "serve", model=model, port=port, **settings)],
            "inference",
        )
    elif which == "bare":
        command, place = [sys.executable, __file__, "--bare", str(port), "--model", str(model)], "benchmarks"
    else:
        command = ["mlflow", "models", "serve", "-m", str(model), "-p", str(port), "--env-manager", "local", "-w", "1"]
        place = "benchmarks"
        store["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "true"  # so it says of anything, skops too
    with (folder / f"{which}.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT / place, env=environment(**store), stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until_up(port, process, folder / f"{which}.log")
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_up(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"the server did not come up: {log.read_text()[-2000:]}")


def serve_bare(model: str, port: int) -> None:
    """The least that answers: FastAPI, one row's frame, predict_proba."""
    import pandas as pd
    import uvicorn
    from fastapi import FastAPI
    from saved_model import open_model

    loaded = open_model(model)
    app = FastAPI()

    @app.get("/ping")
    def ping() -> str:
        return "\n"

    @app.post("/invocations")
    def invocations(body: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        frame = pd.DataFrame(body["dataframe_records"])[list(loaded.columns)].fillna(float("nan"))
        probabilities = loaded.estimator.predict_proba(frame)
        said = loaded.estimator.classes_[probabilities.argmax(axis=1)]
        return {
            "predictions": [{"class": str(a), "probability": b[1]} for a, b in zip(said, probabilities, strict=True)]
        }

    uvicorn.run(app, port=port, access_log=False, log_level="warning")


def measured(port: int, pid: int, clients: int, seconds: float, row: dict[str, Any]) -> dict[str, float]:
    """Requests/s, p50 and p95 in ms, and the server's processor ms a request; the clients are another process."""
    wanted = {"port": port, "clients": clients, "seconds": seconds, "body": json.dumps({"dataframe_records": [row]})}
    before = processor_seconds(pid)
    done = subprocess.run(
        [sys.executable, __file__, "--load", json.dumps(wanted)], check=True, capture_output=True, text=True
    )
    figures = json.loads(done.stdout)
    cpu = 1000 * (processor_seconds(pid) - before) / max(figures.pop("requests"), 1)
    return figures | {"cpu": cpu}


def processor_seconds(pid: int) -> float:
    """Of the process and its children that have not ended, as Linux counts."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == pid:  # its process group
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


async def load(port: int, clients: int, seconds: float, body: str) -> dict[str, float]:
    """So many clients, each asking again as soon as it has its answer."""
    content = body.encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    request = head.encode() + b"\r\n\r\n" + content
    times: list[float] = []
    start = time.perf_counter() + 0.5  # what comes before is to warm up
    end = start + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < end:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                sys.exit(f"the server said {answer.decode()[:300]}")
            size = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(size[15:]))
            if begun >= start:
                times.append(1000 * (time.perf_counter() - begun))
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    times.sort()
    places = {"p50": 0.5, "p95": 0.95}
    figures = {name: times[min(int(len(times) * share), len(times) - 1)] for name, share in places.items()}
    return {"rate": len(times) / seconds, **figures, "requests": len(times)}


def while_large(port: int, pid: int, rows: int, row: dict[str, Any]) -> str:
    """How long single rows wait while one request of many rows is answered."""
    body = json.dumps({"dataframe_split": {"columns": list(row), "data": [list(row.values())] * rows}}).encode()
    program = (
        "import sys, time, urllib.request; start = time.time(); "
        f"request = urllib.request.Request('http://127.0.0.1:{port}/invocations', sys.stdin.buffer.read(), "
        "{'Content-Type': 'application/json'}); urllib.request.urlopen(request).read(); print(time.time() - start)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin and process.stdout
    process.stdin.write(body)
    process.stdin.close()
    time.sleep(0.3)
    figures = measured(port, pid, 1, 3, row)
    seconds = float(process.stdout.read())
    process.wait()
    return (
        f"While a request of {rows:,} rows was answered in {seconds:.1f} s, one client's single rows had "
        f"p50 {figures['p50']:.0f} ms, p95 {figures['p95']:.0f} ms."
    )


def while_swapping(swaps: int, folder: Path) -> str:
    """What becomes of requests of several rows while two versions take turns as the champion."""
    import mlflow
    from make_sample import passengers, write
    from request_rows import JSON
    from saved_model import open_model
    from serving import answer

    from tests.example_tables import TITANIC, register_model

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("swaps", (folder / "artifacts").as_uri()))
    write(passengers(900), folder / "people.csv")
    people = TITANIC.read(folder / "people.csv")
    uri, versions = "models:/titanic@champion", {}
    for seed in (0, 1):
        number = register_model(TITANIC, people, "champion", seed)
        versions[number] = open_model(f"models:/titanic/{number}")
    records = json.loads(people.head(20)[list(versions["1"].columns)].to_json(orient="records"))
    body = json.dumps({"dataframe_records": records}).encode()
    expected = {number: json.loads(answer(model, JSON, body)) for number, model in versions.items()}
    if expected["1"] == expected["2"]:
        sys.exit("the two versions say the same: nothing could be seen to be mixed")
    answers: list[tuple[int, str, Any]] = []
    done, seen = threading.Event(), "2"
    with server("ours", uri, folder, reload_seconds=0.2) as (port, _):

        def ask() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            while not done.is_set():
                try:
                    connection.request("POST", "/invocations", body, {"Content-Type": JSON})
                    response = connection.getresponse()
                    told = response.headers.get("X-Model-Version", "")
                    answers.append((response.status, told, json.loads(response.read())))
                except (OSError, http.client.HTTPException, ValueError) as error:
                    answers.append((0, "", str(error)))
                    connection.close()
            connection.close()

        clients = [threading.Thread(target=ask) for _ in range(8)]
        for one in clients:
            one.start()
        for count in range(swaps):
            wanted = "12"[count % 2]
            mlflow.MlflowClient().set_registered_model_alias("titanic", "champion", wanted)
            while seen != wanted:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/model", timeout=60) as told:
                    seen = json.load(told)["version"]
                time.sleep(0.05)
            time.sleep(0.5)
        done.set()
        for one in clients:
            one.join()
    lost = sum(status != 200 for status, _, _ in answers)
    mixed = sum(status == 200 and said != expected[version] for status, version, said in answers)
    by = ", ".join(f"{sum(version == one for _, version, _ in answers):,} by version {one}" for one in versions)
    return (
        f"During {swaps} swaps of the champion 8 clients asked for 20 rows at a time: {len(answers):,} requests "
        f"({by}), {lost} lost, {mixed} with an answer that is not that version's own."
    )


def report(which: list[str], found: dict[tuple[str, int], list[dict[str, float]]], *sentences: str) -> str:
    head = ["", *(f"{clients} client{'s' * (clients > 1)}: req/s; p50, p95 ms; CPU ms" for clients in CLIENTS)]
    lines, rates = [], {}
    for one in which:
        cells = []
        for clients in CLIENTS:
            runs = found[one, clients]
            middle = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            rates[one, clients] = middle["rate"]
            cells.append(f"{middle['rate']:.0f}; {middle['p50']:.0f}, {middle['p95']:.0f}; {middle['cpu']:.1f}")
        lines.append([NAMES[one], *cells])
    ratios = [f"{rates['ours', clients] / rates['bare', clients]:.1f}" for clients in CLIENTS]
    return table(head, [*lines, ["ours / bare", *ratios]]) + "".join(f"\n\n{one}" for one in sentences if one)


if __name__ == "__main__":
    main()
