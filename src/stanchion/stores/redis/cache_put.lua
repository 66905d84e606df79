-- Keeps a value under a key, and stays within the bound: first what has expired goes, then the least recently used.
-- KEYS: the entry, the index by last use, the index by expiry, the sizes ('' is their sum).
-- ARGV: the value, its ttl in milliseconds, its size, the bound.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1e6 + tonumber(time[2])
local ttl_ms, size, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local function text(number) return string.format('%.0f', number) end
local held = tonumber(redis.call('HGET', KEYS[4], '') or 0)

local function take_out(entry)
  held = held - tonumber(redis.call('HGET', KEYS[4], entry) or 0)
  redis.call('DEL', entry)
  redis.call('HDEL', KEYS[4], entry)
  redis.call('ZREM', KEYS[2], entry)
  redis.call('ZREM', KEYS[3], entry)
end

for _, entry in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', text(now), 'LIMIT', 0, 100)) do
  take_out(entry)
end
take_out(KEYS[1])
if ttl_ms > 0 and size <= most then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', text(ttl_ms))
  redis.call('ZADD', KEYS[2], text(now), KEYS[1])
  redis.call('ZADD', KEYS[3], text(now + ttl_ms * 1000), KEYS[1])
  redis.call('HSET', KEYS[4], KEYS[1], size)
  held = held + size
end
while held > most do
  local oldest = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not oldest then held = 0 break end -- the sum was wrong, and is put right
  take_out(oldest)
end
redis.call('HSET', KEYS[4], '', text(held))
return 'OK'
