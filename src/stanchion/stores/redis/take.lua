-- Takes all that is wanted, or nothing.  Says what rules/meter.py says; see there why.
-- KEYS: the meters, then the slots.  ARGV: holder, how many meters, the epoch, how long a meter is remembered (s),
-- then cost and room of each meter, then most and ttl of each slot.  Amounts are seconds.
-- Returns wait, now, then the depth of each meter, then what was booked on each.
local NEAR = 1e-6
local time = redis.call('TIME')
local now = (tonumber(time[1]) - tonumber(ARGV[3])) + tonumber(time[2]) / 1e6
local holder, meters, remembered = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local function text(number) return string.format('%.17g', number) end

local wait, arg, state = 0, 5, {}
for i = 1, meters do
  local cost, room = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
  arg = arg + 2
  local kept = redis.call('HMGET', KEYS[i], 'full_at', 'booked_s', 'idle_at')
  local meter = { cost = cost, new = not kept[1], full_at = tonumber(kept[1] or 0), booked = tonumber(kept[2] or 0),
    idle_at = tonumber(kept[3] or 0) }
  state[i] = meter
  local depth = math.max(0, meter.full_at - now)
  local over = cost > room and depth or depth + cost - room
  if over > NEAR and over > wait then wait = over end
end
for i = meters + 1, #KEYS do
  local most = tonumber(ARGV[arg])
  arg = arg + 2
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', text(now))
  if most <= 0 then
    wait = math.huge
  elseif redis.call('ZCARD', KEYS[i]) >= most and not redis.call('ZSCORE', KEYS[i], holder) then
    local first = tonumber(redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')[2])
    wait = math.max(wait, first - now, 0.001)
  end
end

if wait == 0 then
  for i = 1, meters do
    local meter = state[i]
    if meter.full_at <= now then
      meter.idle_at, meter.full_at = now, now
    end
    meter.full_at, meter.booked = meter.full_at + meter.cost, meter.booked + meter.cost
    redis.call('HSET', KEYS[i], 'full_at', text(meter.full_at), 'booked_s', text(meter.booked),
      'idle_at', text(meter.idle_at))
    if meter.new then redis.call('HSET', KEYS[i], 'born_at', text(now), 'synced_at', '0') end
    redis.call('PEXPIRE', KEYS[i], math.ceil((meter.full_at - now + remembered) * 1000))
  end
  arg = 5 + 2 * meters
  for i = meters + 1, #KEYS do
    redis.call('ZADD', KEYS[i], text(now + tonumber(ARGV[arg + 1])), holder)
    arg = arg + 2
    local last = tonumber(redis.call('ZRANGE', KEYS[i], -1, -1, 'WITHSCORES')[2])
    redis.call('PEXPIRE', KEYS[i], math.ceil((last - now) * 1000))
  end
end

local answer = { text(wait), text(now) }
for i = 1, meters do
  answer[2 + i] = text(math.max(0, state[i].full_at - now))
  answer[2 + meters + i] = text(state[i].booked)
end
return answer
