"""What was kept aside and is no event stays there, with its reason."""

from __future__ import annotations

import json

import asyncpg

from occupancy.database import DEFAULT_ORGANIZATION, Database
from occupancy.replay import replay_rejected
from occupancy.settings import Settings
from tests.mqtt.conftest import Gated, at, bridging, until
from tests.mqtt.scripted import ScriptedBroker
from tests.mqtt.test_bridge import TOPIC, event
from tests.sql.building import two_rooms


async def test_a_replay_takes_events_and_leaves_the_rest(
    scripted: ScriptedBroker,
    sink: Gated,
    database: Database,
    connection: asyncpg.Connection,
    settings: Settings,
) -> None:
    async with bridging(at(scripted.port), sink):
        await until(lambda: scripted.is_connected)
        await scripted.publish(TOPIC, event(1))
        await scripted.publish(TOPIC, event(2, dpu_id="423"))
        await scripted.publish(TOPIC, b"{")
        await scripted.publish(TOPIC, json.dumps("\0").encode())
        await until(lambda: len(scripted.acknowledged) == 4)
    before = await connection.fetch("SELECT id, code FROM occupancy.rejected_event ORDER BY id")
    assert sorted(row["code"] for row in before) == [
        "invalid_event",
        "invalid_json",
        "unknown_dpu",
        "wrong_topic",
    ]
    await two_rooms(connection)
    replayed = await replay_rejected(database, settings, DEFAULT_ORGANIZATION)
    # The event of another DPU than its topic's does not come in by this door either.
    assert (replayed.accepted, replayed.still_rejected) == (1, 3)
    after = await connection.fetch("SELECT id, code FROM occupancy.rejected_event ORDER BY id")
    assert after == [row for row in before if row["code"] != "unknown_dpu"]
