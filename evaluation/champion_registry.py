"""The champion, its predecessors and the decisions about them: aliases and tags in MLflow's model registry.

The alias `champion` marks the current one. Tags of each version say what was decided about it; the tags
`history.000001`, `history.000002` … of the registered model hold one event each, so that the history outlives any run.
"""

import getpass
import json
import re
from datetime import UTC, datetime

from evaluation_model import EvaluationError, SavedModel
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

CHAMPION, CHALLENGER = "champion", "challenger"
EVENT = re.compile(r"history\.\d{6}")
MAX_TAG_LENGTH = 2000  # characters of a tag's value that every store accepts


def check_name(name: str) -> str:
    """The name of a registered model.

    Raises:
        EvaluationError: it has other characters than training allows.
    """
    if not re.fullmatch(r"[\w.-][\w .-]{0,99}", name):
        raise EvaluationError(f"model_name={name!r} is not a name of letters, digits, spaces, dots, - and _")
    return name


def find_version(client: MlflowClient, model: SavedModel, name: str) -> ModelVersion:
    """The registered version that the model folder belongs to, by the run and model id in its MLmodel file.

    Raises:
        EvaluationError: the model is not registered under `name`.
    """
    sources = {f"models:/{model.model_id}"} if model.model_id else set()
    query = f"name = '{name}'" + (f" and run_id = '{model.run_id}'" if re.fullmatch(r"\w+", model.run_id) else "")
    found = [version for version in client.search_model_versions(query) if not sources or version.source in sources]
    if not found:
        raise EvaluationError(
            f"the model is not a version of the registered model {name!r}; train with model_name={name}, "
            "or give the model_name under which it was trained"
        )
    return max(found, key=lambda version: int(version.version))


def find_champion(client: MlflowClient, uri: str) -> ModelVersion | None:
    """The version that models:/NAME@ALIAS or models:/NAME/VERSION means; None where the alias is not given to any.

    Raises:
        EvaluationError: another kind of URI, or a version that is not there.
    """
    match = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if not match:
        raise EvaluationError(f"champion={uri!r} is not models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, number = match.groups()
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") and alias:
            return None
        raise EvaluationError(
            f"champion={uri!r} is not in the registry; leave it at models:/{name}@champion"
        ) from error


def split_of(version: ModelVersion) -> tuple[float, int] | None:
    """The test_size and split_seed that the version was trained with; None where its tags do not say."""
    try:
        return float(version.tags["test_size"]), int(version.tags["split_seed"])
    except (KeyError, ValueError):
        return None


def promote(client: MlflowClient, version: ModelVersion, champion: ModelVersion | None, run_id: str) -> None:
    """Make the version champion. Repeating it after an interruption completes it."""
    predecessor = champion.version if champion else ""
    set_tags(client, version, {"verdict": "promoted", "verdict.reasons": "", "predecessor": str(predecessor)})
    add_event(client, version, "promoted", predecessor, run_id, "passed the gate")
    client.set_registered_model_alias(version.name, CHAMPION, version.version)


def find_rollback_reason(client: MlflowClient, version: ModelVersion, sha256: str) -> str:
    """Why this version, or one with the same model file, was rolled back; "" if none was."""
    same = client.search_model_versions(f"name = '{version.name}' and tags.`model.sha256` = '{sha256}'")
    audits = [json.loads(other.tags["rolled_back"]) for other in [version, *same] if "rolled_back" in other.tags]
    return audits[0]["why"] if audits else ""


def reject(client: MlflowClient, version: ModelVersion, reasons: list[str]) -> None:
    """Write the verdict and its reasons into the version's tags."""
    set_tags(client, version, {"verdict": "rejected", "verdict.reasons": "; ".join(reasons)})


def roll_back(client: MlflowClient, name: str, reason: str, run_id: str) -> tuple[ModelVersion, ModelVersion]:
    """The champion's predecessor becomes champion again; returns the new champion and the old one.

    Raises:
        EvaluationError: there is no champion, or it has no predecessor that still exists.
    """
    champion = find_champion(client, f"models:/{name}@{CHAMPION}")
    if champion is None:
        raise EvaluationError(f"the registered model {name!r} has no champion, so there is nothing to roll back")
    previous = champion.tags.get("predecessor", "")
    if not previous:
        raise EvaluationError(
            f"version {champion.version} of {name!r} is champion and has no predecessor; nothing was changed"
        )
    try:
        predecessor = client.get_model_version(name, previous)
    except MlflowException as error:
        raise EvaluationError(
            f"version {previous} of {name!r}, the champion's predecessor, does not exist any more; nothing was changed"
        ) from error
    audit = {"who": user(), "when": now(), "why": reason, "run_id": run_id, "to": previous}
    set_tags(client, champion, {"verdict": "rolled back", "rolled_back": json.dumps(audit, ensure_ascii=False)})
    add_event(client, predecessor, "rolled back to", champion.version, run_id, reason)
    client.set_registered_model_alias(name, CHAMPION, previous)
    return predecessor, champion


def add_event(
    client: MlflowClient, version: ModelVersion, event: str, predecessor: str, run_id: str, reason: str
) -> None:
    """Append to the history, unless its last entry already says so (an interrupted step that is repeated)."""
    history = read_history(client, version.name)
    entry = {
        "event": event,
        "version": str(version.version),
        "before": str(predecessor),
        "data_sha256": version.tags.get("data.sha256", ""),
        "model_run_id": version.run_id or "",
        "run_id": run_id,
        "who": user(),
        "when": now(),
        "why": reason,
    }
    same = ("event", "version", "before")
    if history and all(history[-1].get(key) == entry[key] for key in same):
        return
    key = f"history.{len(history) + 1:06d}"
    client.set_registered_model_tag(version.name, key, json.dumps(entry, ensure_ascii=False))


def read_history(client: MlflowClient, name: str) -> list[dict[str, str]]:
    """All events, oldest first.

    Raises:
        EvaluationError: there is no such registered model.
    """
    try:
        tags = client.get_registered_model(name).tags
    except MlflowException as error:
        raise EvaluationError(f"there is no registered model {name!r}; train one first") from error
    return [json.loads(tags[key]) for key in sorted(tags) if EVENT.fullmatch(key)]


def set_tags(client: MlflowClient, version: ModelVersion, tags: dict[str, str]) -> None:
    """Set the version's tags, each value shortened to what every store accepts."""
    for key, value in tags.items():
        client.set_model_version_tag(version.name, version.version, key, value[:MAX_TAG_LENGTH])


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
