"""Where events are published, and what a topic says of them."""

from __future__ import annotations

from dataclasses import dataclass

from occupancy.errors import InvalidInput

DPU_ID = "{dpu_id}"
_SETTING = "OCCUPANCY_MQTT_TOPIC"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic filter with the wildcards `+` and `#`, in which at most one level is `{dpu_id}`."""

    levels: tuple[str, ...]

    @classmethod
    def parse(cls, pattern: str) -> Topic:
        """The pattern, as in OCCUPANCY_MQTT_TOPIC. Raises InvalidInput if it is no topic filter."""
        levels = tuple(pattern.split("/"))
        fault = _fault(pattern, levels)
        if fault:
            raise InvalidInput(f"{_SETTING} {pattern!r}: {fault}", field=_SETTING, value=pattern)
        return cls(levels)

    @property
    def filter(self) -> str:
        """What the bridge subscribes to."""
        return "/".join("+" if level == DPU_ID else level for level in self.levels)

    @property
    def names_dpu(self) -> bool:
        """Whether a level of the topic is the DPU."""
        return DPU_ID in self.levels

    def matches(self, topic: str) -> bool:
        """Whether a message published on `topic` belongs to this subscription."""
        given = topic.split("/")
        if topic.startswith("$") and self.levels[0] in ("+", "#", DPU_ID):
            return False
        if self.levels[-1] == "#":
            # also the parent itself: a/# takes a
            fixed = self.levels[:-1]
            return len(given) >= len(fixed) and _alike(fixed, given)
        return len(given) == len(self.levels) and _alike(self.levels, given)

    def dpu_id(self, topic: str) -> str | None:
        """The DPU that a topic which matches names, None if the pattern has no `{dpu_id}`."""
        return topic.split("/")[self.levels.index(DPU_ID)] if self.names_dpu else None


def _alike(pattern: tuple[str, ...], given: list[str]) -> bool:
    return all(
        wanted in ("+", DPU_ID) or wanted == level for wanted, level in zip(pattern, given, strict=False)
    )


def _fault(pattern: str, levels: tuple[str, ...]) -> str | None:
    if not pattern or len(pattern.encode()) > 65_535 or "\0" in pattern:
        return "a topic has 1 to 65535 bytes, none of them NUL"
    if pattern.startswith("$share/"):
        return "set the group of a shared subscription in OCCUPANCY_MQTT_GROUP"
    if any(len(level) > 1 and ("+" in level or "#" in level) for level in levels) or "#" in levels[:-1]:
        return "+ stands for a whole level, # for all that follows, at the end"
    if levels.count(DPU_ID) > 1 or any(DPU_ID in level and level != DPU_ID for level in levels):
        return "{dpu_id} is one whole level"
    return None
