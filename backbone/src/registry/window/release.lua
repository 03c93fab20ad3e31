
-- Gives the places of RPCs back that have ended. Begins with window.lua.
-- ARGV: from 9 on, for each RPC: id, how it ended (a acknowledged, r refused, p pushed back, f failed, n not sent); in
--       capitals where it was sent for certain: its place may be counted later.
if not state then return {} end
local ids = {}
for i = 9, #ARGV, 2 do ids[#ids + 1] = ARGV[i] end
local deadlines = redis.call('ZMSCORE', KEYS[2], unpack(ids))
redis.call('ZREM', KEYS[2], unpack(ids))

local function answer()
  failures, open_until, open_for, probe, answered = 0, 0, 0, '.', latest
end

local function complete(full)
  if not full then
    since = 0
  elseif since == 0 then
    since, done = now, 0
  else
    done = done + 1
    if now - since >= 500 then
      -- What was measured over an outage tells nothing, and a line that it made long would stay so.
      local measured = math.min((now - since) / done, interval * 8)
      interval = math.min(math.max((interval + measured) / 2, 1), 10000)
      since, done = now, 0
    end
  end
end

local ended, early = {}, {}
for i = 1, #ids do
  local id, letter, deadline = ids[i], ARGV[7 + i * 2 + 1], deadlines[i]
  local how = string.lower(letter)
  local uncounted = not deadline and letter ~= how and not ended[id]
  if uncounted then
    early[#early + 1] = string.format('%d', now)
    early[#early + 1] = id
    deadline = latest
  end
  if not deadline or ended[id] then -- late, or answered twice
    if how == 'a' then answer() end
  else
    ended[id] = true
    -- Whole places: with 1.9 of them, one in flight is all that there can be.
    local full = in_flight >= math.floor(places()) * 0.75
    if not uncounted then in_flight = in_flight - 1 end
    if how == 'n' then
      if id == probe then probe = '.' end
    else
      if how == 'p' then
        if tonumber(deadline) > cut then halve() end
      else
        complete(full)
      end
      if how == 'a' and full then limit = math.min(limit + 1 / limit, tonumber(ARGV[3])) end
      if how == 'f' then fail(id, now) else answer() end
    end
  end
end
if early[1] then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', string.format('%d', now - 5000))
  redis.call('ZADD', KEYS[3], unpack(early))
  redis.call('PEXPIRE', KEYS[3], 10000)
end
save()
return {}
