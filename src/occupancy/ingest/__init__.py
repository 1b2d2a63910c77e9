"""How events come in: what a body holds, and where its events go until they are durable."""
