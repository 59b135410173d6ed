"""What a server in production must do: share its time, keep its limits, know who asks, say what it does."""

import asyncio
import contextlib
import http.client
import io
import json
import logging
import shutil
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import serving_protocol
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from declaration import parse_declaration
from request_rows import ARROW, JSON, RequestError
from saved_model import open_model
from serving import answer
from serving_batches import SLICE, Batches, Job, Models
from serving_live import LiveModel
from serving_settings import KEY_VARIABLE, Settings, refuse_open_door, tls_files
from step_error import StepError
from table import BINARY, MULTICLASS, REGRESSION

from tests.example_tables import FIELDS, TARGETS, TITANIC, register_model, rows, save_model, table
from tests.inference.in_process import Client, running

TOGETHER: dict[int, Models] = {}  # by the model: what is for the same one is scored together
ORDER = {"size": 10, "colour": "red", "returned": False}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A model of each task."""
    folder = tmp_path_factory.mktemp("models")
    tasks = (BINARY, MULTICLASS, REGRESSION)
    return {task: open_model(save_model(folder / task, table(task), rows(task))) for task in tasks}


class Held:
    """An estimator that counts its calls, waits in the first, and cannot work with a size of 66."""

    def __init__(self, estimator):
        self.estimator, self.calls, self.go = estimator, [], threading.Event()

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        self.calls.append(len(frame))
        if len(self.calls) == 1:
            self.go.wait(20)
        if (frame["size"] == 66).any():
            raise ValueError
        return self.estimator.predict(frame)


@pytest.fixture
def batches():
    of = Batches()
    of.start()
    yield of
    of.stop()
    assert not of.alive()


def job(model, *sizes: object) -> Job:
    return Job(
        TOGETHER.setdefault(id(model), Models(model)),
        {"size": [str(size) for size in sizes], "colour": ["red"] * len(sizes), "returned": ["no"] * len(sizes)},
        len(sizes),
    )


def expected(model, *sizes: object) -> bytes:
    return answer(model, JSON, json.dumps({"inputs": [ORDER | {"size": size} for size in sizes]}).encode())


def wait_until(true) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_waits_is_scored_at_once_and_each_gets_their_own(models, batches):
    model = replace(models[REGRESSION], estimator=Held(models[REGRESSION].estimator))
    first = batches.submit(job(model, 1))
    wait_until(lambda: model.estimator.calls)
    rest = [batches.submit(job(model, size, size + 0.5)) for size in range(20)]
    bad = batches.submit(job(model, 5, "huge", -1))
    model.estimator.go.set()
    assert first.result(20).body == expected(models[REGRESSION], 1)
    for size, one in enumerate(rest):
        assert one.result(20).body == expected(models[REGRESSION], size, size + 0.5)
    with pytest.raises(RequestError, match=r"^row 2: size_not_a_number \('huge'; .*; row 3: size_out_of_range"):
        bad.result(20)
    assert model.estimator.calls == [1, 41]  # the one good row of the bad request is judged, and scored, with them


def test_a_request_that_the_model_stumbles_over_harms_no_other(models, batches):
    model = replace(models[REGRESSION], estimator=Held(models[REGRESSION].estimator))
    first = batches.submit(job(model, 1))
    wait_until(lambda: model.estimator.calls)
    others = [batches.submit(job(model, size)) for size in (2, 66, 3)]
    model.estimator.go.set()
    assert first.result(20)
    assert isinstance(others[1].exception(20), ValueError)
    for one, size in ((others[0], 2), (others[2], 3)):
        assert one.result(20).body == expected(models[REGRESSION], size)


@pytest.mark.parametrize("task", [BINARY, MULTICLASS, REGRESSION])
def test_a_large_request_is_answered_whole_and_small_ones_before_it(models, batches, task):
    model, sizes = models[task], np.random.default_rng(0).integers(0, 100, 20 * SLICE).tolist()
    large = batches.submit(job(model, *sizes))
    small = batches.submit(job(model, 1))
    assert small.result(20).body == expected(model, 1)
    assert not large.done()
    assert large.result(60).body == expected(model, *sizes)
    assert sum(large.result().predictions.values()) == (0 if task == REGRESSION else len(sizes))
    late = batches.submit(job(model, *sizes, -1, *[101] * 9))
    with pytest.raises(RequestError) as caught:
        late.result(60)
    assert str(caught.value).startswith(f"row {len(sizes) + 1}: size_out_of_range ('-1'; ")
    assert str(caught.value).endswith("; and 5 more rows")


def test_a_new_champion_goes_live_and_no_request_is_lost_or_answered_by_two(store, passengers):
    for seed in (0, 1):
        register_model(TITANIC, passengers, "champion" if seed == 0 else "", seed)
    versions = {number: open_model(f"models:/titanic/{number}") for number in ("1", "2")}
    records = json.loads(passengers.head(3)[list(versions["1"].columns)].to_json(orient="records"))
    body = json.dumps({"inputs": records}).encode()
    said = {number: json.loads(answer(model, JSON, body)) for number, model in versions.items()}
    assert said["1"] != said["2"]
    uri, done = "models:/titanic@champion", threading.Event()

    def load(port: int) -> list[tuple]:
        client, answers = Client(port), []
        while not done.is_set():
            status, content, headers = client.ask(body)
            answers.append((status, headers["X-Model-Version"], content))
        return answers

    with running(versions["1"], Settings(uri=uri, reload_seconds=0.05)) as port, ThreadPoolExecutor(3) as pool:
        loads = [pool.submit(load, port) for _ in range(3)]
        try:
            for number in ("2", "1", "2", "1", "2"):
                mlflow.MlflowClient().set_registered_model_alias("titanic", "champion", number)
                wait_until(lambda number=number: json.loads(Client(port).get("/model")[1])["version"] == number)
        finally:
            done.set()
        answers = [one for load in loads for one in load.result()]
        assert "inference_model_swaps 5\n" in Client(port).get("/metrics")[1]
    assert {status for status, _, _ in answers} == {200}
    assert {version for _, version, _ in answers} == {"1", "2"}
    assert all(content == said[version] for _, version, content in answers)


def test_a_champion_that_will_not_do_is_said_and_the_old_one_answers_on(store, passengers, caplog):
    def named_titanic(*fields: dict) -> object:
        content = {"name": "titanic", "row": "order", "primaryKey": "order", "fields": [*FIELDS, *fields]}
        return parse_declaration(content, "orders.yaml")

    register_model(TITANIC, passengers, "champion")
    register_model(named_titanic(TARGETS[BINARY]), rows(BINARY))
    live = LiveModel(open_model("models:/titanic/1"), "models:/titanic@champion")
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("titanic", "champion", "2")
    live.look()
    live.look()
    assert live.current.version == "1"
    assert live.problem == (
        "titanic@champion is version 2, which does not answer: it predicts paid (binary), not Survived (binary); "
        "start anew"
    )
    assert caplog.text.count("does not answer") == 1
    client.delete_registered_model_alias("titanic", "champion")
    live.look()
    assert (live.current.version, live.swaps) == ("1", 0)
    assert "version ?" in live.problem
    client.set_registered_model_alias("titanic", "champion", "1")
    live.look()
    assert live.problem == ""


def test_limits_on_rows_on_those_who_wait_and_on_time(models):
    model = replace(models[REGRESSION], estimator=Held(models[REGRESSION].estimator))
    settings = Settings(max_rows=5, max_waiting=2, max_seconds=1)
    with running(model, settings) as port:
        status, said, _ = Client(port).ask({"inputs": [ORDER] * 6})
        assert (status, said["error_code"]) == (413, "REQUEST_TOO_LARGE")
        assert said["message"] == "the request has 6 rows, over 5; send fewer at a time"
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(Client(port).ask, {"inputs": ORDER}) for _ in range(2)]
            wait_until(lambda: "inference_waiting_requests 2\n" in Client(port).get("/metrics")[1])
            status, said, headers = Client(port).ask({"inputs": ORDER})
            assert (status, said["error_code"], headers["Retry-After"]) == (503, "TOO_BUSY", "1")
            for one in waiting:
                status, said, _ = one.result()
                assert (status, said["message"]) == (503, "there was no answer within 1 seconds; send fewer rows")
        model.estimator.go.set()
        assert Client(port).ask({"inputs": ORDER})[0] == 200


def test_who_does_not_go_on_is_hung_up_on_and_what_they_sent_is_let_go(models):
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99000\r\n\r\n"
    settings = Settings(read_seconds=0.5, max_bytes=100_000)
    with contextlib.ExitStack() as stack, running(models[BINARY], settings) as port:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))

        begun = time.monotonic()
        stalled = {sent: connect() for sent in (b"", b"POST /invo", head + b"[" * 9)}
        for sent, one in stalled.items():
            one.sendall(sent)
        for sent, one in stalled.items():
            said = one.makefile("rb").read()  # until the server closes
            assert (b"408" in said and b"REQUEST_TIMEOUT" in said) == sent.endswith(b"[")
        assert time.monotonic() - begun < 8
        many = [connect() for _ in range(6)]
        for one in many:
            one.sendall(head + b"[" * 90_000)
        said = [one.makefile("rb").read() for one in many]
        assert sum(b" 503 " in one for one in said) == 2
        assert sum(b" 408 " in one for one in said) == 4
        assert "inference_held_bytes 0\n" in Client(port).get("/metrics")[1]
        assert Client(port).ask({"inputs": ORDER})[0] == 200


def test_with_a_key_only_who_has_it_is_answered(models, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    with running(models[BINARY], Settings()) as port:
        for headers in ({}, {"X-API-Key": "secre"}, {"Authorization": "Basic secret"}, {"Authorization": "Bearer x"}):
            status, said, _ = Client(port).ask({"inputs": ORDER}, headers=headers)
            assert (status, said["error_code"]) == (401, "UNAUTHORIZED")
            assert Client(port).get("/model", headers)[0] == 401
        for headers in ({"X-API-Key": "secret"}, {"Authorization": "Bearer secret"}):
            assert Client(port).ask({"inputs": ORDER}, headers=headers)[0] == 200
        assert [Client(port).get(path)[0] for path in ("/health", "/ready", "/ping")] == [200] * 3


def test_one_client_may_have_so_many_requests_under_way_and_others_are_answered(models):
    model = replace(models[REGRESSION], estimator=Held(models[REGRESSION].estimator))
    with running(model, Settings(max_waiting_per_client=2)) as port, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(Client(port).ask, {"inputs": ORDER}) for _ in range(2)]
        wait_until(lambda: "inference_waiting_requests 2\n" in Client(port).get("/metrics")[1])
        status, said, headers = Client(port).ask({"inputs": ORDER})
        assert (status, said["error_code"], headers["Retry-After"]) == (429, "TOO_MANY_REQUESTS", "1")
        assert said["message"] == "2 requests of this client are under way; wait for an answer"
        other = pool.submit(Client(port, "127.0.0.2").ask, {"inputs": ORDER})
        model.estimator.go.set()
        assert [one.result()[0] for one in (*waiting, other)] == [200] * 3
        assert Client(port).ask({"inputs": ORDER})[0] == 200


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """A folder as `tls` takes it, with client.crt and client.key, and with those of a stranger, which nobody knows."""
    folder, now = tmp_path_factory.mktemp("tls"), datetime.now(UTC)
    authority = ec.generate_private_key(ec.SECP256R1())

    def write(name: str, own: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, issuer: str) -> None:
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=own is signer, path_length=None), critical=True)
            # Without the next three Python 3.13 takes none.
            .add_extension(x509.KeyUsage(True, *[False] * 4, own is signer, *[False] * 3), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
            .sign(signer, hashes.SHA256())
        )
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.key").write_bytes(key)

    write("ca", authority, authority, "ca")
    for name in ("tls", "client"):
        write(name, ec.generate_private_key(ec.SECP256R1()), authority, "ca")
    stranger = ec.generate_private_key(ec.SECP256R1())
    write("stranger", stranger, stranger, "stranger")
    return folder


def test_with_tls_only_who_has_a_certificate_is_answered(models, certificates, tmp_path):
    def ask(port: int, who: str) -> int:
        context = ssl.create_default_context(cafile=certificates / "ca.crt")
        if who:
            context.load_cert_chain(certificates / f"{who}.crt", certificates / f"{who}.key")
        with contextlib.closing(http.client.HTTPSConnection("localhost", port, timeout=20, context=context)) as one:
            one.request("POST", "/invocations", json.dumps({"inputs": ORDER}), {"Content-Type": JSON})
            return one.getresponse().status

    with running(models[BINARY], Settings(), tls_files(str(certificates))) as port:
        assert ask(port, "client") == 200
        for who in ("", "stranger"):
            with pytest.raises(OSError):  # in TLS 1.3 the refusal comes with the first answer
                ask(port, who)
    for name in ("tls.crt", "tls.key"):
        shutil.copy(certificates / name, tmp_path)
    open_to_all = tls_files(str(tmp_path))
    with running(models[BINARY], Settings(), open_to_all) as port:
        assert ask(port, "") == 200
    assert "ssl_ca_certs" not in open_to_all and tls_files("") == {}
    refuse_open_door("10.0.0.1", insecure=False, certified=True)
    shutil.copy(certificates / "client.key", tmp_path / "tls.key")
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StepError, match=r"cannot be used .* tls\.crt and tls\.key, a matching pair in PEM"):
            tls_files(str(folder))


def test_without_a_key_only_this_machine_may_ask_unless_it_is_said(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        refuse_open_door(host, insecure=False)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):  # noqa: S104
        with pytest.raises(StepError, match=KEY_VARIABLE):
            refuse_open_door(host, insecure=False)
        refuse_open_door(host, insecure=True)
    monkeypatch.setenv(KEY_VARIABLE, "secret")
    refuse_open_door("0.0.0.0", insecure=False)  # noqa: S104


def test_what_it_does_is_counted_and_logged_and_never_what_was_sent(models, caplog):
    caplog.set_level(logging.INFO, "inference.requests")
    with running(models[MULTICLASS], Settings()) as port:
        client = Client(port)
        _, answered, headers = client.ask({"inputs": [ORDER] * 3}, headers={"X-Request-ID": "mine-1"})
        assert headers["X-Request-ID"] == "mine-1"
        odd = client.ask({"inputs": ORDER | {"colour": "mauve"}}, headers={"X-Request-ID": "not; mine"})[2]
        assert len(odd["X-Request-ID"]) == 16
        assert client.get("/mauve")[0] == 404
        text = client.get("/metrics")[1]
        told = json.loads(client.get("/model")[1])
    lines = [json.loads(record.message) for record in caplog.records if record.name == "inference.requests"]
    model = models[MULTICLASS]
    assert [(one["status"], one["path"], one.get("rows")) for one in lines[:3]] == [
        (200, "/invocations", 3),
        (400, "/invocations", 1),
        (404, "other", None),
    ]
    assert lines[0].keys() == {"time", "request_id", "method", "path", "status", "ms", "rows", "version"}
    assert (lines[0]["request_id"], lines[0]["version"]) == ("mine-1", model.label)
    assert "mauve" not in caplog.text
    for line in (
        'inference_requests_total{status="200"} 1',
        'inference_requests_total{status="400"} 1',
        'inference_errors_total{kind="ENDPOINT_NOT_FOUND"} 1',
        f'inference_predictions_total{{value="{answered["predictions"][0]["grade"]}"}} 3',
        'inference_request_seconds_bucket{le="+Inf"} 2',
        f'inference_model_info{{name="orders-multiclass",version="{model.label}",run_id="{model.run_id}"}} 1',
    ):
        assert f"{line}\n" in text
    assert (told["version"], told["sha256"], told["problem"]) == (model.label, model.sha256, "")


def test_an_arrow_stream_is_answered_as_json_is(models):
    frame = pd.DataFrame({"size": [10.0, None, 3.5], "colour": ["red", "RED", None], "returned": [False, True, None]})
    stream = io.BytesIO()
    arrow = pa.Table.from_pandas(frame.assign(colour=frame["colour"].astype("category")))
    with pa.ipc.new_stream(stream, arrow.schema) as writer:
        writer.write_table(arrow)
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    with running(models[BINARY], Settings()) as port:
        said = Client(port).ask(stream.getvalue(), ARROW)
        assert said[:2] == Client(port).ask({"inputs": records})[:2]
        assert said[0] == 200
        for body in (b"", b"nonsense", stream.getvalue()[:200], stream.getvalue()[:-300]):
            assert Client(port).ask(body, ARROW)[0] == 400


def test_an_answer_goes_out_in_one_piece_even_where_the_server_hangs_up_right_after_it():
    written: list[bytes] = []

    class Transport(asyncio.Transport):
        def write(self, data: bytes) -> None:
            written.append(data)

        def close(self) -> None:
            written.append(b"closed")

    async def answer() -> None:
        transport = serving_protocol.WholeWrites(Transport(), asyncio.get_running_loop())
        transport.write(b"head,")
        transport.write(b"body")
        assert written == []
        await asyncio.sleep(0)
        assert written == [b"head,body"]
        transport.write(b"last")
        transport.close()
        await asyncio.sleep(0)

    asyncio.run(answer())
    assert written == [b"head,body", b"last", b"closed"]
