"""Stores in PostgreSQL: shared by machines, for those who have it and no Redis.

Tables and functions are made at the first use, in the first schema of the search path, under an advisory lock.
Their names carry a version: replicas of two versions may run side by side.
"""
