"""What a long-running process asks of Python's garbage collector."""

from __future__ import annotations

import gc

from occupancy import schema

# Requests and messages come by the thousand and are hardly ever in circles; Python would look for those at every 700 or
# 2,000 objects that are new, by its version.
_OBJECTS_BETWEEN_COLLECTIONS = 50_000


def collect_seldom() -> None:
    """Leave everything that exists now, modules above all, out of garbage collections, and have few of them.

    Called once when a process is ready for its work. A full collection looks at every object that is left in, and
    stops the process meanwhile: with all that is imported it took 90 to 180 ms, several times a minute under load.
    """
    # asked for when a database is looked at, and what it loads stays
    schema.head_revision()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
