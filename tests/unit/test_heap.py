"""A process that serves does not stop to look through its modules for garbage."""

from __future__ import annotations

import gc

from occupancy.heap import keep_what_is_loaded


def test_what_is_loaded_is_no_longer_looked_at() -> None:
    kept = {"loaded": ["long ago"]}
    try:
        keep_what_is_loaded()
        assert not any(looked_at is kept for looked_at in gc.get_objects())
        later: list[object] = [[]]
        assert any(looked_at is later for looked_at in gc.get_objects())
    finally:
        gc.unfreeze()
