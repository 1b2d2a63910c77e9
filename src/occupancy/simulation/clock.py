"""Local wall clock and UTC milliseconds.

Inside the simulation an instant is an integer: milliseconds since 1970-01-01T00:00:00Z. Whole milliseconds
are what sensors report, and integers sort, compare and add without rounding.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
NOON = 12 * 60.0
NEXT_MIDNIGHT = 24 * 60.0


def to_datetime(instant: int) -> datetime:
    """Return milliseconds since 1970 as an aware UTC datetime."""
    return EPOCH + instant * MILLISECOND


def to_instant(moment: datetime) -> int:
    """Return an aware datetime as milliseconds since 1970, rounded down.

    Raises:
        ValueError: `moment` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError(f"a datetime with a time zone is needed, not {moment.isoformat()}")
    return (moment - EPOCH) // MILLISECOND


def rfc3339(moment: datetime | None) -> str | None:
    """Return an aware UTC datetime as text, or None for an open end."""
    if moment is None:
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Clock:
    """The wall clock of a building on one local day."""

    day: date
    zone: ZoneInfo

    def instant(self, minutes: float) -> int:
        """Return the instant at which the wall clock shows `minutes` since 00:00 of the day.

        1440 and more is the next day. A time that the change to summer time skips is read with the offset
        from before the change; one that is shown twice is the first of the two.
        """
        shown = datetime.combine(self.day, time()) + timedelta(minutes=minutes)
        return to_instant(shown.replace(tzinfo=self.zone).astimezone(UTC))
