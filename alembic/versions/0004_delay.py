"""Crossings that were stored before revision 0003 get their delay, and lose the instant from which it follows.

Chunk by chunk, in short transactions: whatever ends it, the next `occupancy migrate` goes on where it was. Each row is
written anew; so that a chunk does not grow to twice its size, what old rows leave is made free eight times on the way.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import logging

import asyncpg
from alembic import op

revision = "0004"
down_revision = "0003"

_log = logging.getLogger(__name__)

# Pages of a transaction: about 200,000 rows.
_PIECE = 2048
_PORTIONS = 8
_DONE = "every crossing has its delay"
_CHUNKS = """
SELECT format('%I.%I', chunk_schema, chunk_name) AS name, is_compressed
FROM timescaledb_information.chunks
WHERE hypertable_schema = 'occupancy' AND hypertable_name = 'crossing'
ORDER BY range_start
"""
_IS_DONE = "SELECT obj_description($1::text::regclass, 'pg_class') IS NOT DISTINCT FROM $2"
_PAGES = "SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::integer"
_UPDATE = """
UPDATE ONLY {chunk}
SET delay = greatest(least(floor(extract(epoch FROM received_at - time)), 2147483647), -2147483647)::integer,
  received_at = NULL
WHERE ctid >= '({first},0)'::tid AND ctid < '({end},0)'::tid AND received_at IS NOT NULL
"""


def upgrade() -> None:
    """Move all that is stored, then drop the column."""
    with op.get_context().autocommit_block():
        op.get_bind().connection.dbapi_connection.run_async(_move)
    op.execute("ALTER TABLE occupancy.crossing DROP COLUMN received_at")


async def _move(driver: asyncpg.Connection) -> None:
    chunks = await driver.fetch(_CHUNKS)
    for number, chunk in enumerate(chunks, 1):
        if await driver.fetchval(_IS_DONE, chunk["name"], _DONE):
            continue
        if chunk["is_compressed"]:
            # By hand: revisions did not compress anything until now. The next work on old data does it again.
            await driver.execute("SELECT public.decompress_chunk($1::text::regclass)", chunk["name"])
        await _move_chunk(driver, chunk["name"])
        await driver.execute(f"COMMENT ON TABLE {chunk['name']} IS '{_DONE}'")
        _log.info("chunk %s of %s has its delays", number, len(chunks))


async def _move_chunk(driver: asyncpg.Connection, chunk: str) -> None:
    # New versions of rows come after these pages, or into pages that were made free.
    pages = await driver.fetchval(_PAGES, chunk)
    portion = -(-pages // _PORTIONS)
    free = 0
    for first in range(0, pages, min(_PIECE, portion) or 1):
        end = first + min(_PIECE, portion)
        await driver.execute(_UPDATE.format(chunk=chunk, first=first, end=end))
        if end - free >= portion:
            await driver.execute(f"VACUUM {chunk}")
            free = end
