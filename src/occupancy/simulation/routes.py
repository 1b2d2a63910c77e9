"""The way from one space to another, through doorways that are open."""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable

from occupancy.simulation.building import Doorway

Place = str | None


class Routes:
    """Shortest ways through the doorways of a building."""

    def __init__(self, doorways: Iterable[Doorway]) -> None:
        self._doors: dict[Place, list[Doorway]] = defaultdict(list)
        changes: set[int] = set()
        for doorway in doorways:
            self._doors[doorway.side_a].append(doorway)
            self._doors[doorway.side_b].append(doorway)
            changes |= {at for at in (doorway.opens_at, doorway.closes_at) if at is not None}
        self._changes = sorted(changes)
        self._distances: dict[tuple[int, Place], dict[Place, int]] = {}
        self._ways: dict[tuple[int, Place, Place], list[Doorway]] = {}

    def next_doors(self, position: Place, target: Place, instant: int) -> list[Doorway]:
        """Return the open doorways that bring a person one doorway nearer to the target.

        Raises:
            ValueError: there is no open way.
        """
        phase = bisect_right(self._changes, instant)
        key = (phase, position, target)
        if key not in self._ways:
            distances = self._distances_to(target, phase, instant)
            if position not in distances:
                raise ValueError(f"no open way from {position or 'outside'} to {target or 'outside'}")
            self._ways[key] = [
                doorway
                for doorway in self._doors[position]
                if doorway.is_open(instant) and distances[doorway.beyond(position)] == distances[position] - 1
            ]
        return self._ways[key]

    def _distances_to(self, target: Place, phase: int, instant: int) -> dict[Place, int]:
        key = (phase, target)
        if key not in self._distances:
            self._distances[key] = self._search(target, instant)
        return self._distances[key]

    def _search(self, target: Place, instant: int) -> dict[Place, int]:
        distances: dict[Place, int] = {target: 0}
        ahead = deque([target])
        while ahead:
            place = ahead.popleft()
            for doorway in self._doors[place]:
                neighbour = doorway.beyond(place)
                if neighbour not in distances and doorway.is_open(instant):
                    distances[neighbour] = distances[place] + 1
                    ahead.append(neighbour)
        return distances
