"""Bytes and JSON <-> core shapes.  No clock, no loop, no I/O."""
