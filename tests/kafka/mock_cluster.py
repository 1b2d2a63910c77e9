"""librdkafka's mock cluster, from the library inside the confluent-kafka package, as a process.

Prints its address, then reads orders, one a line, and answers each with `ok` or `error CODE`:

    topic NAME PARTITIONS | down | up | delay MILLISECONDS | errors API_KEY CODE[,CODE…] | delete TOPIC PARTITION UNTIL
    leader TOPIC PARTITION | header TOPIC NAME VALUE

`leader` elects the leader anew: what is written from then on is of another leader epoch. `header` sends a
message with a header; the header's name, which may be no UTF-8 here, and the message's value are in hexadecimal.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

BROKER = 1
# of rd_kafka_new and rd_kafka_producev
_PRODUCER = 0
_END, _TOPIC, _VALUE, _FLAGS, _HEADER = 0, 1, 4, 7, 9
_COPY = 2
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_new": (
        ctypes.c_void_p,
        [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_conf_new": (ctypes.c_void_p, []),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_flush": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    "rd_kafka_mock_cluster_new": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [ctypes.c_void_p]),
    "rd_kafka_mock_topic_create": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int],
    ),
    "rd_kafka_mock_broker_set_down": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_up": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32]),
    "rd_kafka_mock_broker_set_rtt": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int]),
    "rd_kafka_mock_push_request_errors_array": (
        None,
        [ctypes.c_void_p, ctypes.c_int16, ctypes.c_size_t, ctypes.c_void_p],
    ),
    "rd_kafka_mock_partition_delete_records": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int64],
    ),
    "rd_kafka_mock_partition_set_leader": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32],
    ),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [ctypes.c_void_p, ctypes.c_int32]),
}


def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("confluent_kafka")
    assert found is not None
    assert found.origin is not None
    (file,) = (Path(found.origin).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
    library = ctypes.CDLL(str(file))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _obey(library: ctypes.CDLL, cluster: int, words: list[str]) -> int:
    match words:
        case ["topic", name, partitions]:
            code = library.rd_kafka_mock_topic_create(cluster, name.encode(), int(partitions), 1)
        case ["down"]:
            code = library.rd_kafka_mock_broker_set_down(cluster, BROKER)
        case ["up"]:
            code = library.rd_kafka_mock_broker_set_up(cluster, BROKER)
        case ["delay", milliseconds]:
            code = library.rd_kafka_mock_broker_set_rtt(cluster, BROKER, int(milliseconds))
        case ["errors", api_key, codes]:
            numbers = [int(number) for number in codes.split(",")]
            array = (ctypes.c_int * len(numbers))(*numbers)
            library.rd_kafka_mock_push_request_errors_array(cluster, int(api_key), len(numbers), array)
            code = 0
        case ["delete", topic, partition, until]:
            code = library.rd_kafka_mock_partition_delete_records(
                cluster, topic.encode(), int(partition), int(until)
            )
        case ["leader", topic, partition]:
            code = library.rd_kafka_mock_partition_set_leader(cluster, topic.encode(), int(partition), BROKER)
        case ["header", topic, name, value]:
            code = _send(library, cluster, topic.encode(), bytes.fromhex(name), bytes.fromhex(value))
        case _:
            code = -1
    return int(code)


def _send(library: ctypes.CDLL, cluster: int, topic: bytes, name: bytes, value: bytes) -> int:
    message = ctypes.create_string_buffer(512)
    settings = library.rd_kafka_conf_new()
    address = library.rd_kafka_mock_cluster_bootstraps(cluster)
    library.rd_kafka_conf_set(settings, b"bootstrap.servers", address, message, len(message))
    producer = library.rd_kafka_new(_PRODUCER, settings, message, len(message))
    code = library.rd_kafka_producev(
        ctypes.c_void_p(producer),
        *(ctypes.c_int(_TOPIC), ctypes.c_char_p(topic)),
        *(ctypes.c_int(_VALUE), ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
        *(ctypes.c_int(_FLAGS), ctypes.c_int(_COPY)),
        *(ctypes.c_int(_HEADER), ctypes.c_char_p(name), ctypes.c_char_p(b"1"), ctypes.c_ssize_t(1)),
        ctypes.c_int(_END),
    )
    return int(code or library.rd_kafka_flush(producer, 10_000))


def main() -> None:
    library = _library()
    message = ctypes.create_string_buffer(512)
    client = library.rd_kafka_new(0, None, message, len(message))
    assert client, message.value
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    assert cluster
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 100)
    sys.stdout.write(library.rd_kafka_mock_cluster_bootstraps(cluster).decode() + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        code = _obey(library, cluster, line.split())
        sys.stdout.write("ok\n" if code == 0 else f"error {code}\n")
        sys.stdout.flush()
    # without the library's own end, which waits for its threads
    os._exit(0)


if __name__ == "__main__":
    main()
