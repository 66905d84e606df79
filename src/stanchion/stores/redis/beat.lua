-- Notes that a member is alive; returns how many of its group are.
-- KEYS: the group.  ARGV: member, ttl in seconds.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[1], string.format('%.0f', now + math.ceil(tonumber(ARGV[2]) * 1000)), ARGV[1])
local last = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', last - now))
return redis.call('ZCARD', KEYS[1])
