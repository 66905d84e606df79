"""The shapes everything else is an instance of: Call, Reply, Chunk, Service, Filter, errors.

Knows no HTTP, no store, no policy.  Imports the standard library and msgspec only.
"""
