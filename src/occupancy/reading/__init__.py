"""Reads on streaming replicas: where a read goes, how fresh its answer is, how it includes what was just written."""
