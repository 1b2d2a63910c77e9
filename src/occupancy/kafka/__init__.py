"""Kafka: events from a topic into the database, each once (`occupancy consume`), and from HTTP into a topic."""
