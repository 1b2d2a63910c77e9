"""A process that serves does not stop to look through its modules for garbage."""

from __future__ import annotations

import gc

from occupancy.heap import collect_seldom


def test_what_is_loaded_is_no_longer_looked_at() -> None:
    kept = {"loaded": ["long ago"]}
    usual = gc.get_threshold()
    try:
        collect_seldom()
        assert not any(looked_at is kept for looked_at in gc.get_objects())
        assert gc.get_threshold()[0] > usual[0]
        later: list[object] = [[]]
        assert any(looked_at is later for looked_at in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
