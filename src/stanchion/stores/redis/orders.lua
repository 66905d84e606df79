-- Returns the orders after a number that are not too old, ascending, each with its number in front.
-- KEYS: orders by number.  ARGV: the number, how long an order is kept (us).
local time = redis.call('TIME')
local oldest = tonumber(time[1]) * 1e6 + tonumber(time[2]) - tonumber(ARGV[2])
local after = math.max(tonumber(ARGV[1]), oldest)
return redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', after), '+inf')
