-- Budgets of money: one step each.  Says what stores/memory_budgets.py says; see stores/budgets.py for the words.
-- KEYS: for each purse a hash (spent, held, born_at, and `h:HOLDER` -> "amount sure dead") and a sorted set
-- (holders by the end of their lease).  ARGV: the step, the epoch, for how long a late settlement is taken (s), then
-- what the step wants.  Amounts are whole micro-dollars.
local time = redis.call('TIME')
local now = (tonumber(time[1]) - tonumber(ARGV[2])) + tonumber(time[2]) / 1e6
local step, late, arg = ARGV[1], tonumber(ARGV[3]), 4
local function text(number) return string.format('%.17g', number) end
local function whole(number) return string.format('%.0f', number) end
local function word() arg = arg + 1; return ARGV[arg - 1] end
local function number() return tonumber(word()) end
local function read(record)
  local amount, sure, dead = string.match(record, '^(%d+) (%d+) (%d)$')
  return tonumber(amount), tonumber(sure), dead == '1'
end
local function write(hash, holder, amount, sure, dead)
  redis.call('HSET', hash, 'h:' .. holder, whole(amount) .. ' ' .. whole(sure) .. (dead and ' 1' or ' 0'))
end
local function add(hash, field, by)
  if by ~= 0 then redis.call('HINCRBY', hash, field, whole(by)) end
end

-- ends the leases that ran out, and returns what is spent and held
local function sweep(i)
  local hash, set = KEYS[2 * i - 1], KEYS[2 * i]
  for _, holder in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', text(now))) do
    local record = redis.call('HGET', hash, 'h:' .. holder)
    local amount, sure, dead
    if record then amount, sure, dead = read(record) end
    if not record or dead then
      redis.call('ZREM', set, holder)
      redis.call('HDEL', hash, 'h:' .. holder)
    else
      add(hash, 'held', -amount)
      add(hash, 'spent', sure)
      write(hash, holder, 0, sure, true)
      redis.call('ZADD', set, text(now + late), holder)
    end
  end
  local kept = redis.call('HMGET', hash, 'spent', 'held', 'born_at')
  if not kept[3] then
    kept[3] = text(now)
    if step ~= 'spent' then redis.call('HSET', hash, 'born_at', kept[3]) end
  end
  return tonumber(kept[1] or 0), tonumber(kept[2] or 0), kept[3]
end

if step == 'reserve' then
  local holder, ttl, count = word(), number(), #KEYS / 2
  local holds, granted, cut = {}, true, 0
  for i = 1, count do
    local hold = { cap = number(), amount = number(), least = number(), sure = number(), keep = number() }
    hold.spent, hold.held, hold.born = sweep(i)
    local left = hold.cap - hold.spent - hold.held
    if left < hold.amount then
      granted = granted and left >= hold.least
      cut = math.max(cut, hold.amount - left)
    end
    holds[i] = hold
  end
  if not granted then cut = 0 end
  local answer = { granted and '1' or '0', whole(cut) }
  for i = 1, count do
    local hold, hash, set = holds[i], KEYS[2 * i - 1], KEYS[2 * i]
    if granted then
      local amount = math.max(math.min(hold.least, hold.amount), hold.amount - cut)
      local sure, record = math.min(hold.sure, amount), redis.call('HGET', hash, 'h:' .. holder)
      local mine, surely, dead = 0, 0, false
      if record then mine, surely, dead = read(record) end
      if dead then
        add(hash, 'spent', -surely)
        hold.spent, surely = hold.spent - surely, 0
      end
      write(hash, holder, mine + amount, surely + sure, false)
      redis.call('ZADD', set, text(now + ttl), holder)
      add(hash, 'held', amount)
      hold.held = hold.held + amount
      for _, key in ipairs({ hash, set }) do
        if hold.keep > 0 then redis.call('PEXPIRE', key, math.ceil(hold.keep * 1000)) else redis.call('PERSIST', key) end
      end
    end
    answer[3 * i], answer[3 * i + 1], answer[3 * i + 2] = whole(hold.spent), whole(hold.held), hold.born
  end
  return answer
end

-- the others name purses by their place among the keys
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
  for i = 1, #KEYS / 2 do sweep(i) end
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
    local spent = sweep(i)
    add(KEYS[2 * i - 1], 'spent', math.max(0, known - spent) + more)
  end
else
  local answer = {}
  for i = 1, #KEYS / 2 do
    local spent, held = sweep(i)
    answer[2 * i - 1], answer[2 * i] = whole(spent), whole(held)
  end
  return answer
end
