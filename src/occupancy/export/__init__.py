"""Whole ranges as files: CSV, NDJSON and Parquet, a page at a time, in constant memory."""
