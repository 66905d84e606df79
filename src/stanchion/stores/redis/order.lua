-- Appends an order and returns its number; drops what is too old or too much.
-- The number is the time in microseconds, or one more than the last: it goes on rising if all was lost.
-- KEYS: orders by number, the last number.  ARGV: the order, how long it is kept (us), how many are kept.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1e6 + tonumber(time[2])
local number = math.max(now, tonumber(redis.call('GET', KEYS[2]) or 0) + 1)
local text = string.format('%.0f', number)
redis.call('SET', KEYS[2], text)
redis.call('ZADD', KEYS[1], text, text .. ' ' .. ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
return text
