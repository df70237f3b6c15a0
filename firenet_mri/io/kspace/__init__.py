"""Readers of raw scans, one module per format, which are recognised by content; and writers."""
