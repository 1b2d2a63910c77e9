"""How much is tried at random: all of it on a server, a part of it on the embedded database, many times slower."""

import os

ON_NATIVE = os.environ.get("OCCUPANCY_TEST_ON") == "native"
_SHARE_ON_EMBEDDED = 0.2


def examples(number: int) -> int:
    """So many random examples on a server, fewer on the embedded database; other ones in each run."""
    return number if ON_NATIVE else round(number * _SHARE_ON_EMBEDDED)
