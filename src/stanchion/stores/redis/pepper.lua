-- Keeps the bytes given unless there are some already; returns those that are kept.
-- KEYS: the pepper.  ARGV: the bytes.
redis.call('SETNX', KEYS[1], ARGV[1])
return redis.call('GET', KEYS[1])
