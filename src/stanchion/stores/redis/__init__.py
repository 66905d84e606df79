"""Stores in Redis or Valkey: shared by machines.

One server, or a primary with replicas behind an address that follows the primary.  Not a cluster, nor Sentinel:
no answer is followed to another node.  All keys begin with `{stanchion}`, so that a step's keys lie together behind
a proxy that shards.  Two installations on one server take two database numbers.
"""
