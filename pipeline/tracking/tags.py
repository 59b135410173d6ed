"""The tags that this project writes onto runs, and results and fingerprints from and to them."""

import hashlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

from mlflow.entities import Metric, Param, Run, RunTag

from pipeline.planning.decision import Result
from pipeline.planning.fingerprint import PARTS, Fingerprint

# A step's run is good only once STATE is there: it is written last, with the digests.
STEP, STATE, FINGERPRINT = "pipeline.step", "pipeline.state", "pipeline.fingerprint"
OUTPUT, PIPELINE_RUN, PROCESS, ATTEMPT = "pipeline.output.", "pipeline.run", "pipeline.process", "pipeline.attempt"
OUTPUT_HEX, PLAIN = "pipeline.output_hex.", re.compile(r"[\w. -]{1,200}", re.ASCII)
SECONDS, REASON, GIT_DIRTY = "pipeline.seconds", "pipeline.reason", "pipeline.git_dirty"
STEPS = "pipeline.steps"  # on a pipeline's run alone: the steps that were asked for
LEASE = "pipeline.lease"  # until when a pipeline run counts as alive that cannot be seen (liveness.py)
EXIT_CODE = "pipeline.exit_code"  # of a step that ran where nobody else sees how it ended
METRICS, READS = "pipeline.metrics", "pipeline.reads"  # digest of the metrics; what was read, as JSON
SIZES = "pipeline.sizes"  # of a run's files where they are not on this machine, as `listing_text` has them
NOTE = "mlflow.note.content"  # MLflow's description of a run; set by a step: what people should know of it
SOURCE_SHA256 = "source.sha256"  # set by a step: the digest, which it checked, of what it fetched
EFFECT = "effect."  # and a name; set by a step: what it did outside its artifacts, as JSON (`History.effect_error`)
MOVED = "moved"  # the STATE of a run whose code, inputs or reads changed while it ran: used for nothing later
TAG_LIMIT = 8000  # characters that MLflow keeps of a tag
PARAMETER_LIMIT = 6000  # characters that MLflow keeps of a parameter


class Listed(NamedTuple):
    """A file as its store lists it: its size in bytes, and the beginning of its ETag, each as far as the store says."""

    size: int | None
    etag: str = ""


Listing = dict[str, Listed]  # by path


def as_result(run: Run) -> Result:
    """A step's good run as what planning knows of it."""
    tags = run.data.tags
    return Result(
        step=tags[STEP],
        run_id=run.info.run_id,
        outputs=outputs_of(tags),
        metrics=metrics_of(run),
        fingerprint=as_fingerprint(tags),
        reads=json.loads(tags.get(READS, "{}")) if not tags.get(READS, "").startswith("@") else {},
        effects=effects_of(tags),
        source_sha256=tags.get(SOURCE_SHA256, ""),
        seconds=float(tags.get(SECONDS, 0)),
        note=tags.get(NOTE, ""),
        ended=local_time(run.info.end_time),
    )


def local_time(milliseconds: int) -> str:
    """MLflow's time, for people."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))


def is_good(run: Run) -> bool:
    """Whether a run is a step's that ended well."""
    return run.data.tags.get(STATE) in ("executed", MOVED) and STEP in run.data.tags


def effects_of(tags: Mapping[str, str]) -> dict[str, str]:
    """The effects outside its artifacts that a run declares."""
    return {name.removeprefix(EFFECT): value for name, value in tags.items() if name.startswith(EFFECT)}


def output_tags(digests: Mapping[str, str]) -> dict[str, str]:
    """The outputs' digests; a name that MLflow would not have in a tag's is written in hex."""
    return {
        OUTPUT + name if PLAIN.fullmatch(name) else OUTPUT_HEX + os.fsencode(name).hex(): sha256
        for name, sha256 in digests.items()
    }


def outputs_of(tags: Mapping[str, str]) -> dict[str, str]:
    """What `output_tags` wrote."""
    plain = {name.removeprefix(OUTPUT): value for name, value in tags.items() if name.startswith(OUTPUT)}
    coded = {name.removeprefix(OUTPUT_HEX): value for name, value in tags.items() if name.startswith(OUTPUT_HEX)}
    return plain | {os.fsdecode(bytes.fromhex(name)): value for name, value in coded.items()}


def fingerprint_tags(fingerprint: Fingerprint | None) -> dict[str, str]:
    """The fingerprint, and its parts for telling later what changed."""
    if fingerprint is None:
        return {}
    parts = {f"{FINGERPRINT}.{part}": json.dumps(dict(getattr(fingerprint, part)), sort_keys=True) for part in PARTS}
    return {FINGERPRINT: fingerprint.digest, f"{FINGERPRINT}.entry_point": fingerprint.entry_point} | parts


def as_fingerprint(tags: Mapping[str, str]) -> Fingerprint:
    """What `fingerprint_tags` wrote; of a run by another release, one that equals none of today's."""
    try:
        parts = {part: json.loads(tags[f"{FINGERPRINT}.{part}"]) for part in PARTS}
        return Fingerprint(entry_point=tags[f"{FINGERPRINT}.entry_point"], **parts)
    except (KeyError, ValueError):
        return Fingerprint()


def metrics_of(run: Run) -> dict[str, float]:
    """A run's metrics; MLflow's database keeps infinity as the largest number there is."""
    largest = sys.float_info.max
    return {n: math.copysign(math.inf, v) if abs(v) == largest else v for n, v in run.data.metrics.items()}


def metrics_digest(metrics: Mapping[str, float]) -> str:
    """SHA-256, in hex, of metrics as the store gives them back."""
    return hashlib.sha256(json.dumps({name: repr(metrics[name]) for name in sorted(metrics)}).encode()).hexdigest()


def as_tags(tags: Mapping[str, str]) -> list[RunTag]:
    """Tags as MLflow's client takes them."""
    return [RunTag(key, value) for key, value in tags.items()]


def as_params(parameters: Mapping[str, str]) -> list[Param]:
    """Parameters as MLflow's client takes them."""
    return [Param(key, value[:PARAMETER_LIMIT]) for key, value in parameters.items()]


def as_metrics(metrics: Mapping[str, float]) -> list[Metric]:
    """Metrics as MLflow's client takes them."""
    now = int(time.time() * 1000)
    return [Metric(key, value, now, 0) for key, value in metrics.items()]


def listing_text(listing: Listing) -> str:
    """As JSON for a tag; "" where a size is not known, or it is too long for one."""
    text = json.dumps({path: one if one.etag else one.size for path, one in listing.items()}, sort_keys=True)
    return text if len(text) <= TAG_LIMIT and all(one.size is not None for one in listing.values()) else ""


def listing_of(text: str) -> Listing:
    """What `listing_text` has made."""
    return {path: Listed(*one) if isinstance(one, list) else Listed(one) for path, one in json.loads(text).items()}
