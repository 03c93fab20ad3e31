-- Takes the RPC that a gateway's answer belongs to. The state is described in start.lua.
-- KEYS: 1 RPC state of the label.
-- ARGV: 1 gateway that answered, 2 id or '', 3 status to end the RPC with, 4 '1' if the command was carried out.
-- Returns 'reply <id>,<reply queue>', or one word that says why not.
local gateway, id = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'lease', 'fence', 'via', 'echo')
local lease, fence, via, echo = state[1], state[2], state[3], state[4] or ''
if not lease then return 'unknown' end
local number, renewed, holder = lease:match('^(%d+) (%d+)(.*)$')
local lid, lgateway, lversion, reply_to, deadline
if holder ~= '' then
  lid, lgateway, lversion, reply_to, deadline = holder:match('^ ([^,]*),([^,]*),([^,]*),([^,]*),(%d+),%d+$')
end

local function late(version)
  local back = ARGV[4] == '1' and version ~= '' and fence and tonumber(version) < tonumber(fence)
  return back and 'gone_back' or 'late'
end

local function end_lease(status)
  local fields = {
    'lease', number .. ' ' .. renewed,
    'e' .. number % 8, lid .. ',' .. lgateway .. ',' .. lversion .. ',' .. status .. ',' .. string.format('%d', now),
  }
  if status ~= 'd' then
    fields[5] = 'failed'
    fields[6] = string.format('%s,%d;', lgateway, now) .. (redis.call('HGET', KEYS[1], 'failed') or '')
  end
  if via ~= gateway then
    fields[#fields + 1] = 'via'
    fields[#fields + 1] = gateway
  end
  if id ~= '' and not echo:find(gateway, 1, true) then
    fields[#fields + 1] = 'echo'
    fields[#fields + 1] = echo .. gateway .. ','
  end
  redis.call('HSET', KEYS[1], unpack(fields))
end

if lid and (lid == id or id == '' and lgateway == gateway) then
  if lgateway ~= gateway then return 'wrong_gateway' end
  if now > tonumber(deadline) then
    end_lease('l')
    return late(lversion)
  end
  end_lease(ARGV[3])
  return 'reply ' .. lid .. ',' .. reply_to
end

local seen, elsewhere = false, false
local ended = redis.call('HMGET', KEYS[1], 'e0', 'e1', 'e2', 'e3', 'e4', 'e5', 'e6', 'e7')
local newest = lid and number - 1 or tonumber(number)
for i = newest, newest - 7, -1 do
  local entry = ended[i % 8 + 1]
  local eid, egateway, eversion, status, at = (entry or ''):match('^([^,]*),([^,]*),([^,]*),(%a),(%d+)$')
  if eid and (eid == id or id == '' and egateway == gateway) then
    if egateway ~= gateway then
      elsewhere = true
    elseif status == 't' or status == 'a' then
      redis.call('HSET', KEYS[1], 'e' .. i % 8, table.concat({eid, egateway, eversion, 'l', at}, ','))
      return late(eversion)
    else
      seen = true
    end
  end
end
if seen then return 'duplicate' end
if elsewhere or id == '' and lid then return 'wrong_gateway' end
return 'unknown'
