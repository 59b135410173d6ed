"""From a version that passed the gate to the one that answers: proposed, approved by a person, live or rolled back.

    python deploy/release.py propose          what passed and waits for a person, into deploy/release.yaml
    python deploy/release.py promote          the version of deploy/release.yaml becomes champion
    python deploy/release.py deploy URL       the server at URL answers with it, or the champion before it comes back

deploy/release.yaml is in the repository, so that changing it is a pull request, and merging that the approval. The
store is the one that MLFLOW_TRACKING_URI names, the key of the server is in INFERENCE_API_KEY.
"""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import requests
import yaml
from mlflow.entities.model_registry import ModelVersion

ROOT = Path(__file__).resolve().parent.parent
RELEASE = ROOT / "deploy" / "release.yaml"
SUMMARY = ROOT / "build" / "release.md"  # for the pull request
PASSED, CHAMPION = "passed", "champion"
WAIT = float(os.environ.get("DEPLOY_WAIT", "120"))  # seconds for a server to answer with another version
POLL = 1.0  # seconds between two looks at it


class ReleaseError(Exception):
    """What is wrong, in one sentence."""


def propose() -> str:
    """Write the newest version that passed, and waits, to RELEASE, and why to SUMMARY."""
    client = mlflow.MlflowClient()
    waiting = [version for version in client.search_model_versions() if version.tags.get("verdict") == PASSED]
    if not waiting:
        return f"no version waits for a person: {RELEASE.relative_to(ROOT)} is as it was"
    newest = max(waiting, key=lambda version: version.creation_timestamp)
    RELEASE.write_text(yaml.safe_dump({"model": newest.name, "version": int(newest.version)}), encoding="utf-8")
    SUMMARY.parent.mkdir(exist_ok=True)
    SUMMARY.write_text(summary(client, newest), encoding="utf-8")
    return f"version {newest.version} of {newest.name} is proposed: {RELEASE.relative_to(ROOT)}"


def summary(client: mlflow.MlflowClient, version: ModelVersion) -> str:
    """Markdown: what the gate said, and the figures of the evaluation."""
    run_id = version.tags.get("verdict.run_id", "")
    lines = [f"Version {version.version} of `{version.name}` passed the gate. Merging this makes it champion."]
    if run_id:
        run = client.get_run(run_id)
        lines += ["", run.data.tags.get("mlflow.note.content", ""), "", "| metric | value |", "| --- | ---: |"]
        lines += [f"| {name} | {value:.4g} |" for name, value in sorted(run.data.metrics.items())]
    return "\n".join(lines) + "\n"


def released() -> tuple[str, str]:
    """Model and version of RELEASE."""
    try:
        content = yaml.safe_load(RELEASE.read_text(encoding="utf-8"))
        return str(content["model"]), str(int(content["version"]))
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError):
        raise ReleaseError(
            f"{RELEASE.relative_to(ROOT)} does not name a model and its version; `make propose` writes it"
        ) from None


def promote() -> str:
    """Make the version of RELEASE champion, by the gate's own entry point, which looks whether it may."""
    model, version = released()
    run_entry_point("promote", version=version, model_name=model)
    return f"version {version} of {model} is champion"


def deploy(url: str) -> str:
    """Wait until the server answers with the version, ask it about a row, and go back where it does not."""
    model, version = released()
    try:
        smoke(url.rstrip("/"), model, version)
    except ReleaseError as error:
        run_entry_point("rollback", reason=f"deployed to {url}: {error}"[:900], model_name=model)
        raise ReleaseError(f"{error}; the champion before it is champion again") from None
    return f"{url} answers with version {version} of {model}"


def smoke(url: str, model: str, version: str) -> None:
    """Raises ReleaseError where the server does not answer with the version, and sensibly, in time."""
    end, said = time.monotonic() + WAIT, "nothing"
    while True:
        try:
            answer = requests.get(f"{url}/model", headers=headers(), timeout=10)
            said = str(answer.json().get("version", answer.text[:200]))
        except (requests.RequestException, ValueError, AttributeError) as error:
            said = type(error).__name__
        if said == version:
            break
        if time.monotonic() > end:
            raise ReleaseError(f"{url}/model did not say version {version} within {WAIT:g} s, but {said}")
        time.sleep(POLL)
    row = unseen_row(model, version)
    try:
        answer = requests.post(f"{url}/invocations", json={"dataframe_records": [row]}, headers=headers(), timeout=30)
        count = len(answer.json()["predictions"]) if answer.ok else 0
    except (requests.RequestException, ValueError, LookupError, TypeError) as error:
        raise ReleaseError(f"{url}/invocations did not answer a request ({type(error).__name__})") from None
    if count != 1:
        raise ReleaseError(f"{url}/invocations answered a good request with {answer.status_code}: {answer.text[:200]}")


def unseen_row(model: str, version: str) -> dict[str, str]:
    """A row of those that training held out."""
    run_id = mlflow.MlflowClient().get_model_version(model, version).run_id
    holdout = mlflow.artifacts.download_artifacts(f"runs:/{run_id}/holdout.csv")
    with Path(holdout).open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file))


def headers() -> dict[str, str]:
    """What the server wants to be shown, if anything."""
    key = os.environ.get("INFERENCE_API_KEY", "")
    return {"Authorization": f"Bearer {key}"} if key else {}


def run_entry_point(name: str, **parameters: str) -> None:
    """An entry point of evaluation/.

    Raises:
        ReleaseError: it failed; it has said why.
    """
    given = [part for key, value in parameters.items() for part in ("-P", f"{key}={value}")]
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT / "evaluation"), "-e", name, "--env-manager", "local"]
    if subprocess.run([*command, *given]).returncode:
        raise ReleaseError(f"{name} failed, for the reason above")


COMMANDS = {"propose": propose, "promote": promote, "deploy": deploy}


def main() -> int:
    command, *arguments = sys.argv[1:] or [""]
    if command not in COMMANDS or len(arguments) != (command == "deploy"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(COMMANDS[command](*arguments))
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
