"""A load of DPUs on a service: at a fixed rate of arrival, with the right answers known.

The schedule says when each message is due; the generator sends it then, however slow the service is, and measures
from the instant at which it was due. What was acknowledged is known event by event, so that every count the service
gives, during the run and after it, can be told to be right or wrong.
"""

from occupancy.load.audit import Audit
from occupancy.load.generator import Conduct
from occupancy.load.plan import UNPACED, Phase, Plan
from occupancy.load.report import Report
from occupancy.load.run import Target, run_load
from occupancy.load.site import Site, declare

__all__ = [
    "UNPACED",
    "Audit",
    "Conduct",
    "Phase",
    "Plan",
    "Report",
    "Site",
    "Target",
    "declare",
    "run_load",
]
