"""What DPUs say of themselves, and what became of what they sent."""
