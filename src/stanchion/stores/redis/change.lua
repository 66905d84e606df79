-- Follows the news about meters and frees slots.  Says what rules/meter.py says; see there why.
-- KEYS: the meters, then the slots to free.  ARGV: holder, how many meters, the epoch, how long a meter is
-- remembered (s), then for each meter: cost, hold, and of what was seen: at ('' when nothing was), booked, depth,
-- gain.
local time = redis.call('TIME')
local now = (tonumber(time[1]) - tonumber(ARGV[3])) + tonumber(time[2]) / 1e6
local holder, meters, remembered = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local function text(number) return string.format('%.17g', number) end

local arg = 5
for i = 1, meters do
  local cost, hold = tonumber(ARGV[arg]), tonumber(ARGV[arg + 1])
  local seen_at, seen_booked, seen_depth = tonumber(ARGV[arg + 2]), tonumber(ARGV[arg + 3]), tonumber(ARGV[arg + 4])
  local gain = tonumber(ARGV[arg + 5])
  arg = arg + 6
  local kept = redis.call('HMGET', KEYS[i], 'born_at', 'full_at', 'booked_s', 'idle_at', 'synced_at')
  local born_at, full_at, booked = tonumber(kept[1] or now), tonumber(kept[2] or 0), tonumber(kept[3] or 0)
  local idle_at, synced_at = tonumber(kept[4] or 0), tonumber(kept[5] or 0)

  if seen_at and seen_at >= synced_at and (seen_at >= born_at or seen_booked <= 0) then
    local told = seen_at + seen_depth + (booked - seen_booked)
    if told >= full_at or idle_at <= seen_at then
      local moved = full_at + gain * (told - full_at)
      if told > full_at then moved = math.max(moved, seen_at + seen_depth) end
      full_at, synced_at = moved, seen_at
    end
  end
  if cost > 0 and full_at <= now then
    idle_at, full_at = now, now
  end
  full_at, booked = full_at + cost, booked + cost
  if hold > 0 and now + hold > full_at then
    full_at, synced_at = now + hold, now
  end

  redis.call('HSET', KEYS[i], 'born_at', text(born_at), 'full_at', text(full_at), 'booked_s', text(booked),
    'idle_at', text(idle_at), 'synced_at', text(synced_at))
  redis.call('PEXPIRE', KEYS[i], math.ceil((math.max(0, full_at - now) + remembered) * 1000))
end
for i = meters + 1, #KEYS do
  redis.call('ZREM', KEYS[i], holder)
end
return 'OK'
