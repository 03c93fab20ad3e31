
-- Gives RPCs places in a gateway's window, or tells them when to come back. Begins with window.lua.
-- ARGV: from 9 on, for each RPC: id, turn (n newcomer, w waited, u urgent, s sent already), time left in ms.
-- Returns for each: 'a' admitted, 'f<ms>' full, 'b<ms>' failing, with when to come back; and last how many places are left.
local results, added, ids, sent = {}, {}, {}, {}
for i = 9, #ARGV, 3 do
  ids[#ids + 1] = ARGV[i]
  if ARGV[i + 1] == 's' then sent[#sent + 1] = ARGV[i] end
end
local known = redis.call('ZMSCORE', KEYS[2], unpack(ids))
for i = 1, #ids do
  if known[i] then known[ids[i]] = true end
end
if sent[1] then
  local early = redis.call('ZMSCORE', KEYS[3], unpack(sent))
  for i = 1, #sent do
    if early[i] then
      known[sent[i]] = true
      redis.call('ZREM', KEYS[3], sent[i])
    end
  end
end

local function admit(id, time_left)
  local deadline = now + tonumber(time_left)
  latest = math.max(latest, deadline)
  in_flight = in_flight + 1
  known[id] = true
  added[#added + 1] = string.format('%d', deadline)
  added[#added + 1] = id
  return 'a'
end

-- A probe's deadline is the latest, or before it: a probe that is forgotten is over then, too.
local function through_breaker(id, time_left)
  if now < open_until then return 'b', open_until - now end
  if probe ~= '.' and now <= latest then return 'b', math.min(latest - now, open_for) end
  probe = id
  return admit(id, time_left)
end

local function through_window(id, turn, time_left)
  local last = now + tonumber(ARGV[7])
  if turn == 'u' then
    if in_flight + 1 <= limit then return admit(id, time_left) end
    return 'f', interval
  end
  local places = places()
  local free, idle = in_flight + 1 <= places, in_flight * 2 < places
  if turn == 'w' then
    if free then
      if idle then interval = math.max(interval * 0.875, 1) end
      return admit(id, time_left)
    end
    again = math.min(math.max(now, again) + interval, last)
    return 'f', again - now
  end
  if free and (idle or math.max(next_turn, again) <= now) then return admit(id, time_left) end
  next_turn = math.min(math.max(now, next_turn, again) + interval, last)
  return 'f', next_turn - now
end

for i = 1, #ids do
  local id, turn, time_left = ids[i], ARGV[6 + i * 3 + 1], ARGV[6 + i * 3 + 2]
  local result, wait
  if known[id] then -- a redelivered request that has its place, or one that has ended
    result = 'a'
  elseif turn == 's' then
    result = admit(id, time_left)
  elseif open_until > 0 then
    result, wait = through_breaker(id, time_left)
  else
    result, wait = through_window(id, turn, time_left)
  end
  if wait then result = string.format('%s%d', result, math.max(math.ceil(wait), 50)) end
  results[i] = result
end
if added[1] then
  redis.call('ZADD', KEYS[2], unpack(added))
  redis.call('PEXPIRE', KEYS[2], ARGV[8])
end
save()
-- Whoever sends without asking shall not overtake those in line, nor feed a gateway that has just failed.
local left = 0
if open_until == 0 and failures == 0 and math.max(next_turn, again) <= now then
  left = math.max(math.floor(places() - in_flight), 0)
end
results[#results + 1] = string.format('%d', left)
return results
