"""Random numbers that can be drawn again."""

import random


def seeded(seed: int, purpose: str) -> random.Random:
    """Return the generator for one purpose of one simulation.

    Each purpose has a generator of its own, so that switching a defect on leaves the people's day as it was.
    """
    return random.Random(f"{seed}:{purpose}")  # noqa: S311  repeatable on purpose; nothing here is a secret
