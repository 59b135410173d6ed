"""The champion, its predecessors and the decisions about them: aliases and tags in MLflow's model registry.

The alias `champion` marks the current one, `anchor` the best that ever was (a promotion moves it only to what is
better), and `challenger` one that is good enough by itself but is kept out for now: a shadow or a canary may try it.
Tags of each version say what was decided about it; the tags `history.000001`, `history.000002` … of the registered
model hold one event each, so that the history outlives any run.
"""

import getpass
import json
import re
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from saved_model import SavedModel
from step import MODEL_URI
from step_error import StepError

CHAMPION, CHALLENGER, ANCHOR = "champion", "challenger", "anchor"
EVENT = re.compile(r"history\.\d{6}")
MAX_TAG_LENGTH = 2000  # characters of a tag's value that every store accepts


def model_named(client: MlflowClient, name: str, with_history: bool = False) -> str:
    """The name of a registered model; where it is empty, of the only one that has a champion.

    With `with_history` those count, too, that have had one.

    Raises:
        StepError: it is no name, or is empty where none or several come into question.
    """
    if name:
        if not re.fullmatch(r"[\w.-][\w .-]{0,99}", name):
            raise StepError(f"model_name={name!r} is not a name of letters, digits, spaces, dots, - and _")
        return name
    found = sorted(
        model.name
        for model in client.search_registered_models(max_results=1000)
        if CHAMPION in model.aliases or (with_history and any(map(EVENT.fullmatch, model.tags)))
    )
    what = "a champion" if not with_history else "a champion or a history of one"
    if not found:
        raise StepError(f"no registered model has {what}; train and evaluate one first")
    if len(found) > 1:
        raise StepError(f"{', '.join(found[:10])} all have {what}; say which with model_name={found[0]}")
    return str(found[0])


def find_version(client: MlflowClient, model: SavedModel) -> ModelVersion:
    """The registered version that the model folder belongs to, by the run and model id in its MLmodel file.

    Raises:
        StepError: the model is not registered under the name that its declaration gives.
    """
    name = model.table.name
    sources = {f"models:/{model.model_id}"} if model.model_id else set()
    query = f"name = '{name}'" + (f" and run_id = '{model.run_id}'" if re.fullmatch(r"\w+", model.run_id) else "")
    found = [version for version in client.search_model_versions(query) if not sources or version.source in sources]
    if not found:
        raise StepError(
            f"the model is not a version of the registered model {name!r}, the name in its declaration; train it with "
            "the step training, which registers it"
        )
    return max(found, key=lambda version: int(version.version))


def find_champion(client: MlflowClient, uri: str) -> ModelVersion | None:
    """The version that models:/NAME@ALIAS or models:/NAME/VERSION means; None where the alias is not given to any.

    Raises:
        StepError: another kind of URI, or a version that is not there.
    """
    match = MODEL_URI.fullmatch(uri)
    if not match:
        raise StepError(f"champion={uri!r} is not models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, number = match.groups()
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        return client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE") and alias:
            return None
        raise StepError(f"champion={uri!r} is not in the registry; leave it empty for the model's own") from error


def split_of(version: ModelVersion) -> tuple[float, int] | None:
    """The test_size and split_seed that the version was trained with; None where its tags do not say."""
    try:
        return float(version.tags["test_size"]), int(version.tags["split_seed"])
    except (KeyError, ValueError):
        return None


def same_version(one: ModelVersion, other: ModelVersion | None) -> bool:
    return other is not None and (one.name, str(one.version)) == (other.name, str(other.version))


def find_anchor(client: MlflowClient, name: str) -> tuple[ModelVersion | None, list[str]]:
    """The best champion that ever was, None where nobody has the alias; and a note where its version is gone."""
    anchor = find_champion(client, f"models:/{name}@{ANCHOR}")
    known = client.get_registered_model(name).tags.get(ANCHOR, "")
    if anchor is None and known:
        return None, [f"the best champion so far, version {known}, is gone; the champion takes its place"]
    return anchor, []


def await_approval(client: MlflowClient, version: ModelVersion, champion: ModelVersion | None, anchor: str) -> None:
    """The version passed, and a person is to say whether it becomes champion; until then it is challenger."""
    beside = {"champion": str(champion.version) if champion else "", "anchor": anchor}
    set_tags(client, version, {"verdict": "passed", "verdict.reasons": "", "approval": json.dumps(beside)})
    client.set_registered_model_alias(version.name, CHALLENGER, version.version)


def approve(client: MlflowClient, name: str, number: str, run_id: str) -> ModelVersion:
    """Make a version that passed champion; who is champion already stays it.

    Raises:
        StepError: there is no such version, it did not pass, or another is champion now than when it was judged.
    """
    champion = find_champion(client, f"models:/{name}@{CHAMPION}")
    if champion and str(champion.version) == number:
        return champion
    try:
        version = client.get_model_version(name, number)
    except MlflowException:
        raise StepError(f"there is no version {number} of {name!r}; give one that passed the gate") from None
    said = version.tags.get("verdict", "none yet")
    if said != "passed":
        raise StepError(
            f"version {number} of {name!r} is not one that passed and waits (its verdict: {said}); evaluate it with "
            "promote=false"
        )
    beside = json.loads(version.tags["approval"])
    live = str(champion.version) if champion else ""
    if beside["champion"] != live:
        then, now_is = (f"version {one}" if one else "none" for one in (beside["champion"], live))
        raise StepError(
            f"version {number} of {name!r} was judged when {then} was champion, and now {now_is} is; evaluate it again"
        )
    promote(client, version, champion, beside["anchor"], run_id, "passed the gate, and was approved")
    return version


def promote(
    client: MlflowClient,
    version: ModelVersion,
    champion: ModelVersion | None,
    anchor: str,
    run_id: str,
    why: str = "passed the gate",
) -> None:
    """Make the version champion, and `anchor` (a version) anchor. Repeating it after an interruption completes it."""
    predecessor = champion.version if champion and champion.name == version.name else ""
    tags = {"verdict": "promoted", "verdict.reasons": "", "predecessor": str(predecessor)}
    if anchor == str(version.version):
        before, _ = find_anchor(client, version.name)
        if before and before.version != version.version:
            tags["anchor.before"] = str(before.version)
    set_tags(client, version, tags)
    add_event(client, version, "promoted", predecessor, run_id, why)
    set_anchor(client, version.name, anchor)
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    take_challenger_away(client, version.name)


def set_anchor(client: MlflowClient, name: str, version: str) -> None:
    client.set_registered_model_alias(name, ANCHOR, version)
    client.set_registered_model_tag(name, ANCHOR, version)  # which outlives the version, and its alias


def take_challenger_away(client: MlflowClient, name: str, version: ModelVersion | None = None) -> None:
    """No version is challenger any more; with `version` only if it was that one."""
    found = find_champion(client, f"models:/{name}@{CHALLENGER}")
    if found and (version is None or same_version(version, found)):
        client.delete_registered_model_alias(name, CHALLENGER)


def aliases_now(client: MlflowClient, name: str) -> dict[str, str]:
    """Which versions are champion and anchor; "" where none is."""
    found = {alias: find_champion(client, f"models:/{name}@{alias}") for alias in (CHAMPION, ANCHOR)}
    return {alias: str(version.version) if version else "" for alias, version in found.items()}


def times_judged(client: MlflowClient, version: ModelVersion, holdout: str) -> int:
    """How many versions the holdout of that digest has judged, this one included, which is marked so.

    The best of many on the same rows looks better than it is. A version that was deleted does not count any more.
    """
    mark = f"judged.{holdout[:16]}"
    set_tags(client, version, {mark: "true"})
    return len(client.search_model_versions(f"name = '{version.name}' and tags.`{mark}` = 'true'"))


def find_rollback_reason(client: MlflowClient, version: ModelVersion, sha256: str) -> str:
    """Why this version, or one with the same model file, was rolled back; "" if none was."""
    same = client.search_model_versions(f"name = '{version.name}' and tags.`model.sha256` = '{sha256}'")
    audits = [json.loads(other.tags["rolled_back"]) for other in [version, *same] if "rolled_back" in other.tags]
    return audits[0]["why"] if audits else ""


def stay_out(client: MlflowClient, version: ModelVersion, verdict: str, reasons: list[str]) -> None:
    """Write the verdict and its reasons into the version's tags; only what is not rejected may be challenger."""
    set_tags(client, version, {"verdict": verdict, "verdict.reasons": "; ".join(reasons)})
    if verdict == "rejected":
        take_challenger_away(client, version.name, version)
    else:
        client.set_registered_model_alias(version.name, CHALLENGER, version.version)


def roll_back(client: MlflowClient, name: str, reason: str, run_id: str) -> tuple[ModelVersion, ModelVersion]:
    """The champion's predecessor becomes champion again; returns the new champion and the old one.

    Raises:
        StepError: there is no champion, or it has no predecessor that still exists.
    """
    champion = find_champion(client, f"models:/{name}@{CHAMPION}")
    if champion is None:
        raise StepError(f"the registered model {name!r} has no champion, so there is nothing to roll back")
    previous = champion.tags.get("predecessor", "")
    if not previous:
        raise StepError(
            f"version {champion.version} of {name!r} is champion and has no predecessor; nothing was changed"
        )
    try:
        predecessor = client.get_model_version(name, previous)
    except MlflowException as error:
        raise StepError(
            f"version {previous} of {name!r}, the champion's predecessor, does not exist any more; nothing was changed"
        ) from error
    audit = {"who": user(), "when": now(), "why": reason, "run_id": run_id, "to": previous}
    set_tags(client, champion, {"verdict": "rolled back", "rolled_back": json.dumps(audit, ensure_ascii=False)})
    add_event(client, predecessor, "rolled back to", champion.version, run_id, reason)
    if same_version(champion, find_champion(client, f"models:/{name}@{ANCHOR}")):
        before = champion.tags.get("anchor.before", previous)
        known = {str(one.version) for one in client.search_model_versions(f"name = '{name}'")}
        set_anchor(client, name, before if before in known else previous)
    client.set_registered_model_alias(name, CHAMPION, previous)
    take_challenger_away(client, name, champion)
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
        StepError: there is no such registered model.
    """
    try:
        tags = client.get_registered_model(name).tags
    except MlflowException as error:
        raise StepError(f"there is no registered model {name!r}; train one first") from error
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
