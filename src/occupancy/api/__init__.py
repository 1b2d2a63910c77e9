"""The HTTP API: one module per resource, each handler parses, calls once, answers."""
