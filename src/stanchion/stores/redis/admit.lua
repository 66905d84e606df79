-- Takes all that is wanted of limits, slots and money, or nothing.  Stands behind purse.lua.
-- Of limits it says what rules/meter.py says; see there why.
-- KEYS: of each part its meters, then its slots; then for each purse its hash and its set.  ARGV: as purse.lua says, then
-- how long a meter is remembered (s), the holder, how many parts, how many meters and slots each part has; of each part
-- cost and room of each meter, most and ttl of each slot (seconds); the ttl of the money, and of each purse cap, amount,
-- least, sure and for how long it is kept.
-- Returns now; of each part its wait, the depth of each meter, what was booked on each; then granted, cut, and of each
-- purse spent, held and since when it is known.
local NEAR = 1e-6
local remembered, holder, parts = number(), word(), {}
for i = 1, number() do parts[i] = { meters = number(), slots = number(), wait = 0, state = {} } end

local key, most_wait = 0, 0
for _, part in ipairs(parts) do
  for i = 1, part.meters do
    key = key + 1
    local cost, room = number(), number()
    local kept = redis.call('HMGET', KEYS[key], 'full_at', 'booked_s', 'idle_at')
    local meter = { key = KEYS[key], cost = cost, new = not kept[1], full_at = tonumber(kept[1] or 0),
      booked = tonumber(kept[2] or 0), idle_at = tonumber(kept[3] or 0) }
    part.state[i] = meter
    local depth = math.max(0, meter.full_at - now)
    local over = cost > room and depth or depth + cost - room
    if over > NEAR and over > part.wait then part.wait = over end
  end
  for i = 1, part.slots do
    key = key + 1
    local most, slot = number(), { key = KEYS[key] }
    slot.ttl = number()
    part.state[part.meters + i] = slot
    redis.call('ZREMRANGEBYSCORE', slot.key, '-inf', text(now))
    if most <= 0 then
      part.wait = math.huge
    elseif redis.call('ZCARD', slot.key) >= most and not redis.call('ZSCORE', slot.key, holder) then
      local first = tonumber(redis.call('ZRANGE', slot.key, 0, 0, 'WITHSCORES')[2])
      part.wait = math.max(part.wait, first - now, 0.001)
    end
  end
  most_wait = math.max(most_wait, part.wait)
end

local ttl, holds, granted, cut = number(), {}, true, 0
for i = 1, (#KEYS - key) / 2 do
  local hold = { hash = KEYS[key + 2 * i - 1], set = KEYS[key + 2 * i], cap = number(), amount = number() }
  hold.least, hold.sure, hold.keep = number(), number(), number()
  hold.spent, hold.held, hold.born = sweep(hold.hash, hold.set)
  local left = hold.cap - hold.spent - hold.held
  if left < hold.amount then
    granted = granted and left >= hold.least
    cut = math.max(cut, hold.amount - left)
  end
  holds[i] = hold
end
if not granted then cut = 0 end

if most_wait == 0 and granted then
  for _, part in ipairs(parts) do
    for i = 1, part.meters do
      local meter = part.state[i]
      if meter.full_at <= now then
        meter.idle_at, meter.full_at = now, now
      end
      meter.full_at, meter.booked = meter.full_at + meter.cost, meter.booked + meter.cost
      redis.call('HSET', meter.key, 'full_at', text(meter.full_at), 'booked_s', text(meter.booked),
        'idle_at', text(meter.idle_at))
      if meter.new then redis.call('HSET', meter.key, 'born_at', text(now), 'synced_at', '0') end
      redis.call('PEXPIRE', meter.key, math.ceil((meter.full_at - now + remembered) * 1000))
    end
    for i = part.meters + 1, part.meters + part.slots do
      local slot = part.state[i]
      redis.call('ZADD', slot.key, text(now + slot.ttl), holder)
      local last = tonumber(redis.call('ZRANGE', slot.key, -1, -1, 'WITHSCORES')[2])
      redis.call('PEXPIRE', slot.key, math.ceil((last - now) * 1000))
    end
  end
  for _, hold in ipairs(holds) do
    local amount = math.max(math.min(hold.least, hold.amount), hold.amount - cut)
    local sure, record = math.min(hold.sure, amount), redis.call('HGET', hold.hash, 'h:' .. holder)
    local mine, surely, dead = 0, 0, false
    if record then mine, surely, dead = read(record) end
    if dead then
      add(hold.hash, 'spent', -surely)
      hold.spent, surely = hold.spent - surely, 0
    end
    write(hold.hash, holder, mine + amount, surely + sure, false)
    redis.call('ZADD', hold.set, text(now + ttl), holder)
    add(hold.hash, 'held', amount)
    hold.held = hold.held + amount
    for _, name in ipairs({ hold.hash, hold.set }) do
      if hold.keep > 0 then redis.call('PEXPIRE', name, math.ceil(hold.keep * 1000)) else redis.call('PERSIST', name) end
    end
  end
end

local answer = { text(now) }
local function say(each) answer[#answer + 1] = each end
for _, part in ipairs(parts) do
  say(text(part.wait))
  for i = 1, part.meters do say(text(math.max(0, part.state[i].full_at - now))) end
  for i = 1, part.meters do say(text(part.state[i].booked)) end
end
say(granted and '1' or '0')
say(whole(cut))
for _, hold in ipairs(holds) do
  say(whole(hold.spent))
  say(whole(hold.held))
  say(hold.born)
end
return answer
