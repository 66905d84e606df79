-- Returns what a cache keeps under a key, with the milliseconds it has left; false if nothing.
-- KEYS: the entry, the index by last use.
local value = redis.call('GET', KEYS[1])
if not value then return false end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], 'XX', string.format('%.0f', tonumber(time[1]) * 1e6 + tonumber(time[2])), KEYS[1])
return {value, redis.call('PTTL', KEYS[1])}
