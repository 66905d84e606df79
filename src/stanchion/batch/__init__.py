"""Batch jobs: many rows in, one answer each, whatever happens meanwhile.  `run.py` ties the parts together."""
