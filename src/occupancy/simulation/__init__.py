"""A simulated building: a believable day of people, what its sensors report, and how many are really where.

The true counts come from the people's own positions, so they check the service's arithmetic independently.
"""

from occupancy.simulation.building import BuildingPlan
from occupancy.simulation.defects import Correction, Defects
from occupancy.simulation.sensors import Event
from occupancy.simulation.simulation import Simulation, simulate

__all__ = ["BuildingPlan", "Correction", "Defects", "Event", "Simulation", "simulate"]
