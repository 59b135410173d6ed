"""inference -e serve: answer for a model over HTTP until stopped (Ctrl-C, or SIGTERM)."""

import argparse
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import mlflow
from model_files import ModelError, load

STEP = "inference"


class ServeError(Exception):
    """The server cannot start; the text is meant for the user."""


def main() -> int:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, ignore_signal)
    signal.signal(signal.SIGINT, ignore_signal)
    started_by_mlflow = "MLFLOW_RUN_ID" in os.environ
    try:
        with mlflow.start_run():
            refuse_bad_values(arguments)
            model = load(arguments.model)
            tags = {"name": model.name, "version": model.version, "run_id": model.run_id, "id": model.model_id}
            mlflow.set_tags({f"model.{key}": value for key, value in tags.items() if value})
            if started_by_mlflow:
                threading.Thread(target=end_with_parent, daemon=True).start()
            which = f"{model.name} version {model.version}" if model.version else f"model {model.label}"
            print(f"{STEP}: {which} at http://{arguments.host}:{arguments.port}/invocations", flush=True)
            serve(model.folder, arguments)
    except (ModelError, ServeError) as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    print(f"{STEP}: stopped")
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(f"{STEP} -e serve", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--max_bytes", type=int, required=True)
    return parser.parse_args()


def refuse_bad_values(arguments: argparse.Namespace) -> None:
    """Raises ServeError for a value out of range, and for a port that is taken."""
    for name, low, high in (("port", 1, 65535), ("workers", 1, 64), ("max_bytes", 1, 1 << 30)):
        value = getattr(arguments, name)
        if not low <= value <= high:
            raise ServeError(f"{name}={value} is not a whole number from {low} to {high}")
    try:
        family, kind, _, _, address = socket.getaddrinfo(arguments.host, arguments.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        where = f"host={arguments.host} port={arguments.port}"
        raise ServeError(f"cannot listen on {where} ({error.strerror}); give another port or host") from None


def serve(folder: Path, arguments: argparse.Namespace) -> None:
    """Run until a signal comes; requests under way are finished."""
    import uvicorn
    from serving import BYTES_VARIABLE, MODEL_VARIABLE

    os.environ[MODEL_VARIABLE], os.environ[BYTES_VARIABLE] = str(folder), str(arguments.max_bytes)
    uvicorn.run(
        "serving:create",
        factory=True,
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=10,
        app_dir=str(Path(__file__).parent),
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
