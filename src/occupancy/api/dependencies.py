"""What handlers get from the application that they run in."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from occupancy.topology import Topology


def topology(request: Request) -> Topology:
    """The metadata that the running service holds."""
    return cast(Topology, request.app.state.topology)


TopologyOfService = Annotated[Topology, Depends(topology)]
