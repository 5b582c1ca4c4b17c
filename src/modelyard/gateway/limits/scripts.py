"""The two scripts that Redis runs, each as one atomic step, by Redis's own clock.

A scope has a hash (what it used) and a sorted set (a lease for each request that holds money or a place, by when it
ends, named `<grant>:<cost>:<day>:<month>`). All keys hold the same hash tag, so a cluster keeps them together.
Numbers are doubles: sums of money are exact up to 9,007,199 dollars a month.
"""

_COMMON = """
local time = redis.call('TIME')
local seconds = tonumber(time[1])
local now = seconds * 1000000 + tonumber(time[2])
local now_ms = math.floor(now / 1000)
local minute = math.floor(seconds / 60)
local day = math.floor(seconds / 86400)

-- Source: Hinnant, chrono-compatible low-level date algorithms, civil_from_days.
local function month_of(days)
  local z = days + 719468
  local era = math.floor(z / 146097)
  local doe = z - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local m = mp < 10 and mp + 3 or mp - 9
  return (yoe + era * 400 + (m <= 2 and 1 or 0)) * 12 + m - 1
end
local month = month_of(day)

local function load(key)
  local h = redis.call('HMGET', key, 'due', 'minute', 'tokens', 'before', 'day', 'dused', 'month', 'mused')
  local a = {key = key}
  a.due = tonumber(h[1] or 0)
  local at = tonumber(h[2] or 0)
  a.tokens = tonumber(h[3] or 0)
  a.before = tonumber(h[4] or 0)
  if at ~= minute then
    a.before = at == minute - 1 and a.tokens or 0
    a.tokens = 0
  end
  a.dused = tonumber(h[5] or 0) == day and tonumber(h[6]) or 0
  a.mused = tonumber(h[7] or 0) == month and tonumber(h[8]) or 0
  return a
end

local function save(a, has_money)
  local f = string.format
  redis.call('HSET', a.key, 'due', f('%.3f', a.due), 'minute', minute, 'tokens', f('%.0f', a.tokens),
    'before', f('%.0f', a.before), 'day', day, 'dused', f('%.0f', a.dused), 'month', month, 'mused', f('%.0f', a.mused))
  -- Without a budget nothing is worth keeping beyond the longest wait; with one, nothing beyond the month.
  redis.call('EXPIRE', a.key, has_money and 2764800 or math.ceil(math.max(180, (a.due - now) / 1000000 + 180)))
end

local function pay(a, cost, on_day, in_month)
  if on_day == day then a.dused = a.dused + cost end
  if in_month == month then a.mused = a.mused + cost end
end
"""

# KEYS: account, leases per subject. ARGV: grant, lease ms, tokens, cost; then per subject: interval us, slack us,
# tokens a minute, concurrency, daily, monthly (0: no limit). Answer: 1 or 0, day, month, then per subject: due in us,
# tokens, before, in flight, used of the day, used of the month.
TAKE = (
    _COMMON
    + """
local grant, lease_ms, tokens, cost = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local need, money = math.max(tokens, 1), math.max(cost, 1)
local fading = (60000000 - now % 60000000) / 60000000
local member = string.format('%s:%.0f:%d:%d', grant, cost, day, month)
local accounts, granted = {}, 1
for i = 1, #KEYS / 2 do
  local n = 4 + (i - 1) * 6
  local a = load(KEYS[2 * i - 1])
  a.leases = KEYS[2 * i]
  a.interval, a.slack = tonumber(ARGV[n + 1]), tonumber(ARGV[n + 2])
  local limit, concurrency = tonumber(ARGV[n + 3]), tonumber(ARGV[n + 4])
  local daily, monthly = tonumber(ARGV[n + 5]), tonumber(ARGV[n + 6])
  a.has_money = daily > 0 or monthly > 0
  a.has_lease = concurrency > 0 or (a.has_money and cost > 0)
  a.running = 0
  if concurrency > 0 or a.has_money then
    local ended = redis.call('ZRANGEBYSCORE', a.leases, '-inf', now_ms)
    if #ended > 0 then
      for _, name in ipairs(ended) do
        local held, on_day, in_month = string.match(name, ':(%d+):(%d+):(%d+)$')
        pay(a, -tonumber(held), tonumber(on_day), tonumber(in_month))
      end
      redis.call('ZREMRANGEBYSCORE', a.leases, '-inf', now_ms)
      save(a, a.has_money)
    end
    if concurrency > 0 then a.running = redis.call('ZCARD', a.leases) end
  end
  if (a.interval > 0 and a.due - now > a.slack) or (limit > 0 and a.before * fading + a.tokens + need > limit)
    or (concurrency > 0 and a.running >= concurrency) or (daily > 0 and a.dused + money > daily)
    or (monthly > 0 and a.mused + money > monthly) then granted = 0 end
  accounts[i] = a
end
local answer = {granted, day, month}
for i, a in ipairs(accounts) do
  if granted == 1 then
    a.due = math.max(a.due, now) + a.interval
    a.tokens = a.tokens + tokens
    if a.has_money then pay(a, cost, day, month) end
    save(a, a.has_money)
    if a.has_lease then
      redis.call('ZADD', a.leases, now_ms + lease_ms, member)
      redis.call('PEXPIRE', a.leases, lease_ms * 10)
    end
  end
  local n = 3 + (i - 1) * 6
  answer[n + 1], answer[n + 2], answer[n + 3] = math.max(0, math.floor(a.due - now)), a.tokens, a.before
  answer[n + 4], answer[n + 5], answer[n + 6] = a.running, a.dused, a.mused
end
return answer
"""
)

# KEYS: the process's mark, then account and leases per subject. ARGV: position and number of the settlement, grant,
# reserved tokens, tokens, reserved cost, cost, minute, day, month of the reservation; then 1 per subject with money.
# Answer: 1 where it was applied, 0 where it had been.
SETTLE = (
    _COMMON
    + """
local position, number = tonumber(ARGV[1]), tonumber(ARGV[2])
local mark = redis.call('HMGET', KEYS[1], 'position', 'number')
local at, nth = tonumber(mark[1] or -1), tonumber(mark[2] or -1)
if position < at or (position == at and number <= nth) then return 0 end
redis.call('HSET', KEYS[1], 'position', ARGV[1], 'number', ARGV[2])
redis.call('EXPIRE', KEYS[1], 2764800)
local grant, difference, tokens = ARGV[3], tonumber(ARGV[5]) - tonumber(ARGV[4]), tonumber(ARGV[5])
local reserved, cost = tonumber(ARGV[6]), tonumber(ARGV[7])
local in_minute, on_day, in_month = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local member = string.format('%s:%.0f:%d:%d', grant, reserved, on_day, in_month)
for i = 1, (#KEYS - 1) / 2 do
  local a = load(KEYS[2 * i])
  local held = grant ~= '' and redis.call('ZREM', KEYS[2 * i + 1], member) == 1
  if in_minute == minute then a.tokens = math.max(0, a.tokens + difference)
  elseif in_minute == minute - 1 then a.before = math.max(0, a.before + difference)
  elseif difference > 0 then a.tokens = a.tokens + difference end
  local has_money = ARGV[10 + i] == '1'
  -- A lease that ended has given its reservation back already.
  if has_money then pay(a, cost - (held and reserved or 0), on_day, in_month) end
  save(a, has_money)
end
return 1
"""
)
