"""Read a batch from a topic of Kafka. Nothing is kept in the broker: no group, no offset. No MLflow here."""

import time
from collections.abc import Mapping
from typing import Any

from batch import Limits, Message, Span
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from step_error import StepError

POLL_SECONDS = 0.2


def read(
    brokers: str,
    topic: str,
    known: Mapping[int, Span],
    only: set[int] | None,
    limits: Limits,
    settings: Mapping[str, str],
) -> tuple[list[Message], dict[int, Span]]:
    """The messages, and for each partition the span that they are of.

    `known` are the spans to read; of a partition that is not in it, all is; `only` are those to be read, None: all. A
    span with an end is read whole, whatever the limits say.

    Raises:
        StepError: the brokers do not answer, there is no such topic, or what is asked for is not kept any more.
    """
    consumer = Consumer(
        {
            **settings,
            "bootstrap.servers": brokers,
            "group.id": "data_stream",  # which the client insists on; never used
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            "log_level": 0,
        }
    )
    try:
        spans = existing(consumer, brokers, topic, dict(known), only, limits)
        return collect(consumer, topic, spans, limits)
    except KafkaException as error:
        raise StepError(f"{topic} of {brokers} cannot be read ({words(error)}); check brokers and topic") from None
    finally:
        consumer.close()


def existing(
    consumer: Any, brokers: str, topic: str, known: dict[int, Span], only: set[int] | None, limits: Limits
) -> dict[int, Span]:
    """A span for each partition that is to be read.

    Raises:
        StepError: there is no such topic or partition, or the first of the messages are not kept any more.
    """
    try:
        found = consumer.list_topics(topic, limits.timeout).topics[topic]
    except KafkaException as error:
        raise StepError(
            f"the brokers {brokers} do not answer ({words(error)}); check the address, and that they run"
        ) from None
    if found.error:
        raise StepError(f"{brokers} has no topic {topic!r} ({found.error.str()}); check its name")
    if unknown := sorted(set(known) - set(found.partitions)):
        raise StepError(f"{topic} of {brokers} has no partition {unknown[0]}; it has 0 to {max(found.partitions)}")
    for partition in sorted(found.partitions if only is None else only):
        first, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), limits.timeout)
        span = known.setdefault(partition, Span(first))
        if span.start < first:
            raise StepError(
                f"{topic} of {brokers} keeps partition {partition} from offset {first} on, and those from {span.start} "
                f"on were to be read: they are lost; go on without them by offsets={partition}:{first}-"
            )
    return known


def collect(
    consumer: Any, topic: str, spans: Mapping[int, Span], limits: Limits
) -> tuple[list[Message], dict[int, Span]]:
    messages: list[Message] = []
    ends = {partition: span.start for partition, span in spans.items()}
    fixed = all(span.end is not None for span in spans.values())
    to_read = {partition for partition, span in spans.items() if span.end is None or span.end > span.start}
    started = heard = time.monotonic()
    consumer.assign([TopicPartition(topic, partition, spans[partition].start) for partition in to_read])
    at_end: set[int] = set()  # for now: more may come
    while to_read and (fixed or len(messages) < limits.messages):
        if to_read <= at_end and (fixed or time.monotonic() - started >= limits.seconds):
            break
        message = consumer.poll(POLL_SECONDS)
        if message is None:
            if not to_read <= at_end and time.monotonic() - heard > limits.timeout:
                raise StepError(f"{topic} gave nothing for timeout={limits.timeout:g} s; check that its brokers run")
            continue
        heard, partition = time.monotonic(), message.partition()
        if message.error() is None:
            end = spans[partition].end
            if end is None or message.offset() < end:
                messages.append(Message(partition, message.offset(), message.value() or b""))
                ends[partition] = message.offset() + 1
                at_end.discard(partition)
            if end is not None and message.offset() >= end - 1:
                ends[partition] = end
                to_read.discard(partition)
                consumer.pause([TopicPartition(topic, partition)])
        elif message.error().code() == KafkaError._PARTITION_EOF:
            at_end.add(partition)
        else:
            raise KafkaException(message.error())
    for partition, span in spans.items():
        if span.end is not None and ends[partition] < span.end:
            raise StepError(
                f"partition {partition} of {topic} ends at {ends[partition]}, and {span.end} was asked for; "
                "correct offsets"
            )
    return messages, {partition: Span(spans[partition].start, end) for partition, end in ends.items()}


def words(error: KafkaException) -> str:
    return str(error.args[0].str()).partition("\n")[0]
