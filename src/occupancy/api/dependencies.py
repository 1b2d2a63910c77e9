"""What handlers get from the application that they run in."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Header, Request

from occupancy.api.freshness import tell_of
from occupancy.reading.database import LATEST, ReadDatabase
from occupancy.reading.position import HEADER
from occupancy.reading.reads import Reads
from occupancy.topology import Topology


def topology(request: Request) -> Topology:
    """The metadata that the running service holds."""
    return cast(Topology, request.app.state.topology)


async def reads(
    request: Request,
    position: Annotated[
        list[str] | None,
        Header(
            alias=HEADER,
            description=f"What the answer has to include: the {HEADER} of an answer to a write, several of them "
            f"separated by commas, or `{LATEST}` for everything acknowledged until now. Without it a replica may "
            "answer that is a little behind.",
        ),
    ] = None,
) -> Reads:
    """The reads of this request; api/freshness.py says in its answer how fresh they were."""
    database: ReadDatabase = request.app.state.reads
    found = database.reads(",".join(position or ()))
    tell_of(request.scope, found)
    return found


TopologyOfService = Annotated[Topology, Depends(topology)]
ReadsOfRequest = Annotated[Reads, Depends(reads)]
