"""Occupancy: how many people are in a space, now and at any past instant, exactly."""

__version__ = "0.1.0"
