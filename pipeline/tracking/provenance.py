"""Who and what started a run: user, commit."""

import getpass
import subprocess
from pathlib import Path
from typing import Any

from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE, MLFLOW_USER


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
