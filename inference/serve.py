"""inference -e serve: answer for a model over HTTP until stopped (Ctrl-C, or SIGTERM)."""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import Any

import mlflow
from saved_model import SavedModel, champion_uri, open_model
from serving_live import OtherModel
from serving_log import header
from serving_settings import Settings, prepare_log, refuse_open_door, tls_files
from step import MODEL_URI, Kind, boolean, number, parse_parameters, run_step, whole
from step_error import StepError

STEP = "inference"
PARAMETERS: dict[str, Kind] = {  # those of `fleet`, too
    "model": str,
    "host": str,
    "port": whole(1, 65535),
    "reload_seconds": number(0, 86400),
    "max_bytes": whole(1, 1 << 30),
    "max_rows": whole(1, 10_000_000),
    "max_waiting": whole(1, 100_000),
    "max_waiting_per_client": whole(1, 100_000),
    "read_seconds": number(0.1, 3600),
    "max_seconds": number(0.1, 3600),
    "canary": number(0, 1),
    "challenger": str,
    "shadow": str,
    "log": str,
    "log_share": number(0, 1),
    "log_rows": whole(1, 1_000_000),
    "log_seconds": number(0.1, 86400),
    "tls": str,
    "insecure": boolean,
}
started_by_mlflow = "MLFLOW_RUN_ID" in os.environ  # which is set for what we start, too, once we have a run


def main() -> int:
    signal.signal(signal.SIGTERM, ignore_signal)
    signal.signal(signal.SIGINT, ignore_signal)
    code = run_step(STEP, work)
    if not code:
        print(f"{STEP}: stopped")
    return code


def work(run: mlflow.ActiveRun, folder: Path) -> None:
    arguments = parse_parameters(STEP, workers=whole(1, 64), **PARAMETERS)
    tls = tls_files(arguments.tls)
    print(f"{STEP}: {prepare(arguments, tls)}", flush=True)
    answer_on(arguments.host, arguments.port, arguments.workers, tls)


def prepare(arguments: argparse.Namespace, tls: dict[str, Any]) -> str:
    """Fetch what is to answer, and hand on what its servers are told; which model it is, and where it answers.

    Raises:
        StepError: it is not there, or must not or cannot answer there.
    """
    refuse_open_door(arguments.host, arguments.insecure, certified="ssl_ca_certs" in tls)
    refuse_taken_port(arguments.host, arguments.port)
    uri = arguments.model or champion_uri()
    model = open_model(uri)
    prepare_others(arguments, model)
    mlflow.set_tags(model.tags())
    limits = {one.name: getattr(arguments, one.name) for one in fields(Settings) if hasattr(arguments, one.name)}
    Settings(folder=str(model.folder.absolute()), uri=uri, **limits).hand_on()
    if started_by_mlflow:
        threading.Thread(target=end_with_parent, daemon=True).start()
    return f"{model} at http{'s' * bool(tls)}://{arguments.host}:{arguments.port}/invocations"


def prepare_others(arguments: argparse.Namespace, model: SavedModel) -> None:
    """What is to be asked beside the model, and logged: fetched once for all workers, but for what has an alias.

    Raises:
        StepError: it is not there, or makes no sense.
    """
    if arguments.shadow and not arguments.log:
        raise StepError(f"shadow={arguments.shadow} is asked for the log alone; give log=FOLDER, too")
    if arguments.canary and not model.table.has_key:
        raise StepError(f"canary={arguments.canary:g} chooses rows by their key, which {model.table.name} has none of")
    if arguments.log:
        prepare_log(arguments.log)
        header(model.table)  # raises where there can be none
    arguments.challenger = arguments.challenger or f"models:/{model.table.name}@challenger"
    for role in ["challenger"] * (arguments.canary > 0) + ["shadow"]:
        other = getattr(arguments, role)
        named = MODEL_URI.fullmatch(other)
        if other and not (named and named["alias"]):
            other = str(open_model(other).folder.absolute())
            setattr(arguments, role, other)
        if found := OtherModel(model, other).current:
            mlflow.set_tags(found.tags(role))


def refuse_taken_port(host: str, port: int) -> None:
    """Raises StepError if nothing can listen there."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        where = f"host={host} port={port}"
        raise StepError(f"cannot listen on {where} ({error.strerror}); give another port or host") from None


def answer_on(host: str, port: int, workers: int = 1, tls: dict[str, Any] | None = None) -> None:
    """Answer there, as was handed on, until a signal comes; requests under way are finished."""
    import uvicorn
    from serving_protocol import ImpatientProtocol

    uvicorn.run(
        "serving:create",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=ImpatientProtocol,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=10,
        timeout_worker_healthcheck=60,  # on a busy machine a worker that loads its model is slow to say it lives
        app_dir=str(Path(__file__).parent),
        **tls or {},
    )


def ignore_signal(signum: int, frame: FrameType | None) -> None:
    """Uvicorn raises the signal again after it has stopped: that is an end, not a failure."""


def end_with_parent() -> None:
    """Stop when whoever started this run is gone: `mlflow run` that is killed tells its command nothing."""
    initial = parent_processes()
    while parent_processes() == initial:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)


def parent_processes() -> tuple[int, int]:
    """The parent's process ID, and where that is only the shell round our command, its parent's too (else 0)."""
    parent = os.getppid()
    try:
        name, _, rest = Path(f"/proc/{parent}/stat").read_text().rpartition(")")
        return parent, int(rest.split()[1]) if name.endswith(("(bash", "(sh")) else 0
    except (OSError, ValueError):
        return parent, 0


if __name__ == "__main__":
    sys.exit(main())
