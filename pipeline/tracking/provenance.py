"""Who and what started a run: user, process, commit."""

import getpass
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_USER


def this_process() -> str:
    """This machine, process and its start time: enough to tell later whether it still lives."""
    return f"{socket.gethostname()} {psutil.Process().pid} {psutil.Process().create_time():.2f}"


def is_dead(process: str) -> bool:
    """Whether a process of this machine, named as by `this_process`, is no more."""
    host, _, rest = process.partition(" ")
    if host != socket.gethostname() or not rest:
        return False
    pid, started = rest.split()
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) > 1
    except psutil.NoSuchProcess:
        return True


def git_state(root: Path) -> dict[str, Any]:
    """The commit of the project's work tree and whether anything in it differs; {} where there is none."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit = git("rev-parse", "HEAD")
    except FileNotFoundError:
        return {}
    return {"commit": commit, "dirty": git("status", "--porcelain") != ""} if commit else {}


def source_tags() -> dict[str, str]:
    """Who and what started a run that is not an MLflow project's."""
    return {MLFLOW_USER: user(), MLFLOW_SOURCE_NAME: "main.py", MLFLOW_SOURCE_TYPE: "LOCAL"}


def user() -> str:
    """The name of who runs this, as MLflow would have it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
