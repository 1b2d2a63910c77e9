"""The two-room floor plan of the sample events, straight into the tables."""

from __future__ import annotations

import asyncpg

ORGANIZATION = 1


async def two_rooms(connection: asyncpg.Connection) -> tuple[int, int]:
    """Space A with DPU 283 on the door to the outside, space B behind it, DPU 423 on A's side of the door between.

    Returns the numbers of A and B.
    """
    space_a, space_b = [
        await connection.fetchval(
            "INSERT INTO occupancy.space (organization, space_id, name) VALUES (1, $1, $1) RETURNING id", name
        )
        for name in ("A", "B")
    ]
    for doorway_id, dpu_id, other_side in (("X", "283", None), ("Z", "423", space_b)):
        await connection.execute(
            """
            WITH doorway AS (
              INSERT INTO occupancy.doorway (organization, doorway_id, name, side_a, side_b)
              VALUES (1, $1, $1, $3, $4) RETURNING id
            ), dpu AS (
              INSERT INTO occupancy.dpu (organization, dpu_id, name) VALUES (1, $2, $2) RETURNING id
            )
            INSERT INTO occupancy.placement (organization, dpu, doorway, facing)
            SELECT 1, dpu.id, doorway.id, 'a' FROM dpu, doorway
            """,
            doorway_id,
            dpu_id,
            space_a,
            other_side,
        )
    return space_a, space_b
