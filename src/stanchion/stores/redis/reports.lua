-- Returns the reports younger than so long.
-- KEYS: reports by field, their times by field.  ARGV: how long (s).
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local fields = redis.call('ZRANGEBYSCORE', KEYS[2], string.format('(%.17g', now - tonumber(ARGV[1])), '+inf')
table.sort(fields)
local answer = {}
for i, field in ipairs(fields) do
  answer[i] = redis.call('HGET', KEYS[1], field)
end
return answer
