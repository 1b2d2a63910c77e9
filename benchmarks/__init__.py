"""What the service costs, measured on a real TimescaleDB: see README.md here."""
