"""What can go wrong between the bridge and the broker, beside BrokerUnavailable."""

from __future__ import annotations

from occupancy.errors import OccupancyError


class BrokerRefused(OccupancyError):
    """The broker does not let the bridge in, or not do what it is set to: trying again does not help."""

    status = 502
    type = "broker-refused"
    title = "Refused by the broker"
