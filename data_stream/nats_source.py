"""Read a batch from a stream of NATS JetStream, by a consumer that is gone afterwards. No MLflow here."""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any

from batch import Limits, Message, Span
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from step_error import StepError, first_line

SETTINGS = {"user", "password", "token"}
AT_ONCE = 256  # messages asked for at a time


def read(
    brokers: str, topic: str, known: Mapping[int, Span], limits: Limits, settings: Mapping[str, str]
) -> tuple[list[Message], dict[int, Span]]:
    """The messages, and the span of the stream's sequence that they are of, as that of a partition 0.

    A span with an end is read whole, whatever the limits say.

    Raises:
        StepError: the servers do not answer, no stream has such a subject, or what is asked for is not kept any more.
    """
    if unknown := sorted(set(settings) - SETTINGS):
        raise StepError(f"client_config names {unknown[0]}, which is none of {', '.join(sorted(SETTINGS))}")
    if set(known) - {0}:
        raise StepError("a stream of JetStream has one partition, 0; give offsets as 0:START-END")
    try:
        return asyncio.run(fetch(brokers, topic, known.get(0), limits, settings))
    except NotFoundError:
        raise StepError(f"no stream of {brokers} has the subject {topic!r}; check its name") from None
    except (NatsError, OSError, ValueError) as error:
        why = first_line(error) or type(error).__name__
        raise StepError(f"{topic} of {brokers} cannot be read ({why}); check brokers and topic") from None


async def fetch(
    brokers: str, topic: str, span: Span | None, limits: Limits, settings: Mapping[str, str]
) -> tuple[list[Message], dict[int, Span]]:
    client = Client()
    try:
        await client.connect(
            brokers.split(","),
            connect_timeout=math.ceil(limits.timeout),
            allow_reconnect=False,
            max_reconnect_attempts=1,  # counted for the first connection, too
            reconnect_time_wait=0,
            error_cb=quiet,
            user=settings.get("user"),
            password=settings.get("password"),
            token=settings.get("token"),
        )
        jetstream = client.jetstream(timeout=limits.timeout)
        stream = await jetstream.find_stream_name_by_subject(topic)
        first = max((await jetstream.stream_info(stream)).state.first_seq, 1)
        span = span or Span(first)
        if span.start < first:
            raise StepError(
                f"{topic} of {brokers} is kept from {first} on, and those from {span.start} on were to be read: they "
                f"are lost; go on without them by offsets=0:{first}-"
            )
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=span.start, ack_policy=AckPolicy.NONE
        )
        subscription = await jetstream.pull_subscribe(topic, stream=stream, config=config)
        messages = await collect(subscription, span, limits)
    finally:
        await client.close()
    end = messages[-1].offset + 1 if messages else span.start
    if end < (span.end or 0):
        raise StepError(f"{topic} ends at {end}, and {span.end} was asked for; correct offsets")
    return messages, {0: Span(span.start, end)}


async def collect(subscription: Any, span: Span, limits: Limits) -> list[Message]:
    messages: list[Message] = []
    pending = (await subscription.consumer_info()).num_pending
    started = time.monotonic()
    while pending or (span.end is None and time.monotonic() - started < limits.seconds):
        if span.end is None and len(messages) >= limits.messages:
            break
        most = AT_ONCE if span.end is not None else min(AT_ONCE, limits.messages - len(messages))
        patience = limits.timeout if pending else limits.seconds - (time.monotonic() - started)
        try:
            found = await subscription.fetch(most, max(patience, 0.01))
        except TimeoutError:
            if pending:
                raise
            break
        for one in found:
            place = one.metadata.sequence.stream
            if span.end is not None and place >= span.end:
                return messages
            messages.append(Message(0, place, one.data))
        pending = found[-1].metadata.num_pending
    return messages


async def quiet(error: Exception) -> None:
    """What goes wrong is told by the call that it keeps from succeeding."""
