"""From what a device, a broker or a file sent to events that can be stored, or a reason why not.

One bad event never loses the good ones beside it: each is judged by itself, and what is rejected keeps its payload.
What is good is read without an object per event; only what that refuses is looked at closely, for its reason.
"""

from occupancy.parse.columns import Events, Parsed, halves, joined
from occupancy.parse.documents import documents
from occupancy.parse.judge import LONGEST_ID, Clock, Rejected
from occupancy.parse.payload import WRAPPED, payload_json, sent_payload, shown
from occupancy.parse.read import parse_events, parse_messages
from occupancy.parse.timestamp import parse_timestamp

__all__ = [
    "LONGEST_ID",
    "WRAPPED",
    "Clock",
    "Events",
    "Parsed",
    "Rejected",
    "documents",
    "halves",
    "joined",
    "parse_events",
    "parse_messages",
    "parse_timestamp",
    "payload_json",
    "sent_payload",
    "shown",
]
