-- Returns how many bytes a cache holds.  KEYS: the sizes.
return redis.call('HGET', KEYS[1], '')
