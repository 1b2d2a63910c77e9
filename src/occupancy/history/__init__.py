"""What was: series, events and summaries of spaces over a range of time, one SQL function each, page by page."""
