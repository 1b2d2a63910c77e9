"""Where people really are.

Nothing here knows of sensors, directions or sides. A space holds whoever stays in it or in a space below it,
so its count is the number of such stays that have begun less the number that have ended.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from occupancy.simulation.building import Space
from occupancy.simulation.people import Step


class Truth:
    """The number of people in every space at every instant."""

    def __init__(self, spaces: Iterable[Space], days: Iterable[Sequence[Step]]) -> None:
        parents = {space.space_id: space.parent_id for space in spaces}
        lineages = {space_id: list(_lineage(space_id, parents)) for space_id in parents}
        self._begun: dict[str, list[int]] = {space_id: [] for space_id in parents}
        self._ended: dict[str, list[int]] = {space_id: [] for space_id in parents}
        for day in days:
            for place, start, end in _stays(day):
                for space_id in lineages[place]:
                    self._begun[space_id].append(start)
                    if end is not None:
                        self._ended[space_id].append(end)
        for instants in (*self._begun.values(), *self._ended.values()):
            instants.sort()

    def count(self, space_id: str, instant: int) -> int:
        """Return the people inside at an instant (milliseconds since 1970); steps of that instant are done.

        Raises:
            LookupError: there is no such space.
        """
        if space_id not in self._begun:
            raise LookupError(f"no space {space_id!r} in this building")
        return bisect_right(self._begun[space_id], instant) - bisect_right(self._ended[space_id], instant)


def _lineage(space_id: str | None, parents: dict[str, str | None]) -> Iterator[str]:
    while space_id is not None:
        yield space_id
        space_id = parents[space_id]


def _stays(day: Sequence[Step]) -> Iterator[tuple[str, int, int | None]]:
    """Yield the place, start and end of each of a person's stays inside."""
    for index, step in enumerate(day):
        if step.entered is not None:
            end = day[index + 1].instant if index + 1 < len(day) else None
            yield step.entered, step.instant, end
