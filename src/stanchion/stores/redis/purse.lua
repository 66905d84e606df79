-- What steps about money share.  ARGV begins with the epoch and for how long a late settlement is taken (s).
-- A purse is a hash (spent, held, born_at, and `h:HOLDER` -> "amount sure dead") and a sorted set (holders by the end of
-- their lease).  Amounts are whole micro-dollars.  Says what stores/memory_budgets.py says; see stores/budgets.py for the
-- words.
local time = redis.call('TIME')
local now = (tonumber(time[1]) - tonumber(ARGV[1])) + tonumber(time[2]) / 1e6
local late, arg = tonumber(ARGV[2]), 3
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

-- ends the leases that ran out, and returns what is spent and held, and since when the purse is known
local function sweep(hash, set, looks)
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
    if not looks then redis.call('HSET', hash, 'born_at', kept[3]) end
  end
  return tonumber(kept[1] or 0), tonumber(kept[2] or 0), kept[3]
end
