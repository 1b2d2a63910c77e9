"""The MQTT bridge: takes events from a broker, and acknowledges them once they are durable."""

from occupancy.mqtt.bridge import Bridge
from occupancy.mqtt.broker import Broker
from occupancy.mqtt.topic import Topic

__all__ = ["Bridge", "Broker", "Topic"]
