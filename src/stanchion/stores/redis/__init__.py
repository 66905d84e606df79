"""Stores in Redis or Valkey: shared by machines.

All keys begin with the hash tag `{stanchion}`, so that a cluster keeps them on one node and a step may touch
several.  Two installations on one server take two database numbers.
"""
