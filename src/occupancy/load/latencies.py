"""Latencies in a histogram of high dynamic range: percentiles to three digits, in constant memory."""

from __future__ import annotations

from typing import Any

from hdrh.histogram import HdrHistogram

_LONGEST_MICROSECONDS = 24 * 3600 * 1_000_000
_PERCENTILES = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9))


class Latencies:
    """How long something took, each time."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(1, _LONGEST_MICROSECONDS, 3)

    def record(self, seconds: float) -> None:
        """Take one in."""
        self._histogram.record_value(min(max(1, int(seconds * 1e6)), _LONGEST_MICROSECONDS))

    def __len__(self) -> int:
        return int(self._histogram.get_total_count())

    def percentile(self, percent: float) -> float:
        """So many percent of them took no longer than this, in milliseconds."""
        return round(float(self._histogram.get_value_at_percentile(percent)) / 1000, 3)

    def summary(self) -> dict[str, Any]:
        """How many, and percentiles in milliseconds; nulls where there were none."""
        if not len(self):
            return {"number": 0, **{name: None for name, _ in _PERCENTILES}, "max": None, "mean": None}
        return {
            "number": len(self),
            **{name: self.percentile(percent) for name, percent in _PERCENTILES},
            "max": round(float(self._histogram.get_max_value()) / 1000, 3),
            "mean": round(float(self._histogram.get_mean_value()) / 1000, 3),
        }
