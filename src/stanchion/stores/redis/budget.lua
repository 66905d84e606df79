-- Budgets of money, all steps but the holding itself (admit.lua).  Stands behind purse.lua.
-- KEYS: for each purse its hash and its set; the steps name purses by their place among them.  ARGV: as purse.lua says,
-- then the step, then what the step wants.
local step = word()
if step == 'settle' then
  for _ = 1, number() do
    local holder = word()
    for _ = 1, number() do
      local i, spent = number(), number()
      local hash, set = KEYS[2 * i - 1], KEYS[2 * i]
      local record = redis.call('HGET', hash, 'h:' .. holder)
      if record then
        local amount, sure, dead = read(record)
        add(hash, 'held', -amount)
        add(hash, 'spent', dead and spent - sure or spent)
        redis.call('HDEL', hash, 'h:' .. holder)
        redis.call('ZREM', set, holder)
      end
    end
  end
elseif step == 'renew' then
  local ttl = number()
  for i = 1, #KEYS / 2 do sweep(KEYS[2 * i - 1], KEYS[2 * i]) end
  for _ = 1, number() do
    local holder = word()
    for _ = 1, number() do
      local i = number()
      local record = redis.call('HGET', KEYS[2 * i - 1], 'h:' .. holder)
      if record then
        local _, _, dead = read(record)
        if not dead then redis.call('ZADD', KEYS[2 * i], text(now + ttl), holder) end
      end
    end
  end
elseif step == 'spend' then
  for i = 1, #KEYS / 2 do
    local known, more = number(), number()
    local spent = sweep(KEYS[2 * i - 1], KEYS[2 * i])
    add(KEYS[2 * i - 1], 'spent', math.max(0, known - spent) + more)
  end
else
  local answer = {}
  for i = 1, #KEYS / 2 do
    local spent, held = sweep(KEYS[2 * i - 1], KEYS[2 * i], true)
    answer[2 * i - 1], answer[2 * i] = whole(spent), whole(held)
  end
  return answer
end
