"""A batch of messages: which ones it has, and the table that they make. Neither brokers nor MLflow here."""

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from step_error import StepError

SPAN = re.compile(r"(\d{1,9}):(\d{1,18})-(\d{1,18})?")
REJECTED = ("partition", "offset", "reason", "message")


@dataclass(frozen=True)
class Span:
    """The messages of a partition from the offset `start` on, up to `end`, which is not in it; None: all there are."""

    start: int
    end: int | None = None


@dataclass(frozen=True, order=True)
class Message:
    """One message, and where it stands."""

    partition: int
    offset: int
    value: bytes


@dataclass(frozen=True)
class Limits:
    """What ends a batch: so many messages, or, when all was read, so many seconds from the start.

    After `timeout` seconds without a word the brokers are given up.
    """

    messages: int
    seconds: float
    timeout: float


def parse_offsets(text: str) -> dict[int, Span]:
    """
    Raises:
        StepError: it is not of the form PARTITION:START-END, separated by commas.
    """
    spans = {}
    for part in filter(None, text.split(",")):
        match = SPAN.fullmatch(part.strip())
        if not match or (match[3] and int(match[3]) < int(match[2])) or int(match[1]) in spans:
            raise StepError(
                f"offsets={text!r} is not of the form PARTITION:START-END, such as 0:17-42,1:0-9, each partition once; "
                "the tag stream.offsets of a run has those of its batch"
            )
        spans[int(match[1])] = Span(int(match[2]), int(match[3]) if match[3] else None)
    return spans


def format_offsets(spans: Mapping[int, Span]) -> str:
    """What `parse_offsets` reads."""
    return ",".join(f"{partition}:{span.start}-{span.end}" for partition, span in sorted(spans.items()))


def write_table(messages: Iterable[Message], columns: Sequence[str], table: Path, rejected: Path) -> tuple[int, int]:
    """Write the messages that are JSON objects as rows, in the order of partitions and offsets, the others to
    `rejected` with the reason; how many there are of each. Where there are none, there is no file."""
    rows: list[dict[str, str]] = []
    others: list[tuple[object, ...]] = []
    header = dict.fromkeys(columns)
    for message in sorted(messages):
        try:
            row = row_of(message.value)
        except ValueError as error:
            text = message.value.decode("utf-8", errors="backslashreplace")
            others.append((message.partition, message.offset, str(error), text))
        else:
            rows.append(row)
            header |= dict.fromkeys(row)
    if rows:
        write_csv(table, list(header), ([row.get(name, "") for name in header] for row in rows))
    if others:
        write_csv(rejected, REJECTED, others)
    return len(rows), len(others)


def row_of(value: bytes) -> dict[str, str]:
    """The cells of a message. Numbers stay as they are written, null is an empty cell, lists and objects stay JSON.

    Raises:
        ValueError: it is no JSON object; the text says what it is instead.
    """
    try:
        read = json.loads(value)
        written = json.loads(value, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        raise ValueError("not JSON in UTF-8") from None
    if not isinstance(read, dict) or not read:
        raise ValueError("not a JSON object with a key for each column")
    return {name: one if isinstance(one, str) else cell(read[name]) for name, one in written.items()}


def cell(value: object) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
