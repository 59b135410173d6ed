"""data_stream: what came since the last batch that was scored in, data.csv out.

Kafka or NATS JetStream, told by the address. Which messages a batch has is kept with its run, in the tag
stream.offsets, and nowhere else: what fails later is read again, and any batch can be.
"""

import re
import sys
from pathlib import Path

import kafka_source
import mlflow
import nats_source
from batch import Limits, format_offsets, parse_offsets, write_table
from last_scored import GIVEN, OFFSETS, TOPIC, since_last_scored
from secret_address import secret_in
from step import log_dataset, number, parse_parameters, run_step, whole
from step_error import StepError

STEP = "data_stream"
NAME = re.compile(r"[\w.*>-]{1,249}")  # of topics and subjects
ADDRESS = re.compile(r"((nats|tls)://)?([\w.-]+|\[[\w:]+\]):\d+")


def main() -> int:
    return run_step(STEP, take_batch)


def take_batch(run: mlflow.ActiveRun, folder: Path) -> None:
    """Read, write and log; the offsets are written last, since they say that the batch is whole."""
    given = parse_parameters(
        STEP,
        brokers=str.strip,
        topic=str.strip,
        columns=str,
        max_messages=whole(1, 1 << 31),
        seconds=number(0, 1e6),
        timeout=number(0.1, 1e6),
        offsets=parse_offsets,
        scored_by=name,
        client_config=str,
    )
    nats = is_nats(given.brokers)
    if not NAME.fullmatch(given.topic):
        raise StepError(f"topic {given.topic!r} is no name of a topic; letters, digits, `.`, `_` and `-` make one")
    source = f"{'nats' if nats else 'kafka'}:{given.topic}"
    spans = given.offsets or since_last_scored(run, source, given.scored_by)
    settings = read_settings(given.client_config)
    limits = Limits(given.max_messages, given.seconds, given.timeout)
    if nats:
        messages, taken = nats_source.read(given.brokers, given.topic, spans, limits, settings)
    else:
        only = set(spans) if given.offsets else None
        messages, taken = kafka_source.read(given.brokers, given.topic, spans, only, limits, settings)
    table, rejected = folder / "data.csv", folder / "rejected.csv"
    columns = [column.strip() for column in given.columns.split(",") if column.strip()]
    rows, others = write_table(messages, columns, table, rejected)
    offsets = format_offsets(taken)
    for path in (table, rejected):
        if path.is_file():
            mlflow.log_artifact(str(path))
    mlflow.log_metrics({"messages": len(messages), "rows": rows, "rejected": others})
    tags = {TOPIC: source, OFFSETS: offsets} | ({GIVEN: "true"} if given.offsets else {})
    if rows:
        tags |= {
            "data.source": f"{source} {offsets}",
            "data.sha256": log_dataset(table, f"{source} {offsets}", "output"),
        }
    mlflow.set_tags(tags)
    print(f"{STEP}: {rows} rows of {len(messages)} messages from {source}, offsets {offsets or 'none'}")
    if others:
        print(f"{STEP}: {others} messages are no rows; rejected.csv has them with the reason")


def read_settings(path: str) -> dict[str, str]:
    """The settings in a file, `name=value` a line; none without a file.

    Raises:
        StepError: there is no such file.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines() if path else []
    except OSError as error:
        raise StepError(f"client_config {path!r} cannot be read ({error.strerror}); give a file of settings") from None
    settings = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#")]
    return {name.strip(): value.strip() for name, _, value in settings}


def is_nats(brokers: str) -> bool:
    """Whether the addresses are of NATS; else they are Kafka's.

    Raises:
        StepError: they hold a secret, or are of neither.
    """
    addresses = [one.strip() for one in brokers.split(",")]
    for address in addresses:
        if found := secret_in(address if "://" in address else f"//{address}"):
            raise StepError(
                f"brokers carries credentials ({found}), which would be stored with the run in clear; put them in a "
                "file, and name that in client_config"
            )
        if not ADDRESS.fullmatch(address):
            raise StepError(f"brokers {brokers!r} is no address; give HOST:PORT of Kafka, or nats://HOST:PORT")
    return "://" in addresses[0]


def name(text: str) -> str:
    """A step's name, which may stand in a search."""
    if not re.fullmatch(r"\w[\w .-]*", text):
        raise ValueError("no name of a step")
    return text


if __name__ == "__main__":
    sys.exit(main())
