"""Which database a command works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from occupancy.embedded import EmbeddedDatabase
from occupancy.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from occupancy.settings import Settings


def embedded(settings: Settings) -> EmbeddedDatabase:
    """The embedded database of these settings, running or not."""
    return EmbeddedDatabase(settings.embedded_directory, port=settings.embedded_port)


def database_url(settings: Settings) -> str:
    """The URL that is set, else that of the embedded database. Raises DatabaseUnavailable if it does not run."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    url = embedded(settings).url()
    if url is None:
        raise DatabaseUnavailable(
            "no database: set OCCUPANCY_DATABASE_URL, or start the embedded one with `occupancy db start`"
        )
    return url
