-- Takes the RPC that a gateway's answer belongs to. The state is described in start.lua.
-- KEYS: 1 RPC state of the label.
-- ARGV: 1 gateway that answered, 2 id or '', 3 status to end the RPC with, 4 '1' if the command was carried out.
local gateway, id = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'lease', 'fence', 'ended', 'via', 'echo')
local lease, fence, ended, via, echo = state[1], state[2], state[3] or '', state[4], state[5] or ''
local lid, lgateway, lversion, reply_to, deadline
if lease then
  lid, lgateway, lversion, reply_to, deadline = lease:match('^([^,]*),([^,]*),([^,]*),([^,]*),(%d+),%d+$')
end

local function late(version)
  local back = ARGV[4] == '1' and version ~= '' and fence and tonumber(version) < tonumber(fence)
  return {'late', back and '1' or '0'}
end

local function end_lease(status)
  redis.call('HDEL', KEYS[1], 'lease')
  local fields = {'ended', lid .. ',' .. lgateway .. ',' .. lversion .. ',' .. status .. ',' .. now .. ';' .. ended}
  if via ~= gateway then fields[3] = 'via' fields[4] = gateway end
  if id ~= '' and not echo:find(gateway, 1, true) then
    fields[#fields + 1] = 'echo'
    fields[#fields + 1] = echo .. gateway .. ','
  end
  redis.call('HSET', KEYS[1], unpack(fields))
end

local function mark_late(start, entry)
  local marked = entry:gsub(',%a,(%d+);$', ',l,%1;')
  redis.call('HSET', KEYS[1], 'ended', ended:sub(1, start - 1) .. marked .. ended:sub(start + #entry))
end

if lid and (lid == id or id == '' and lgateway == gateway) then
  if lgateway ~= gateway then return {'wrong_gateway'} end
  if now > tonumber(deadline) then
    end_lease('l')
    return late(lversion)
  end
  end_lease(ARGV[3])
  return {'reply', lid, reply_to}
end

local seen, elsewhere = false, false
for start, entry, eid, egateway, eversion, status in ended:gmatch('()(([^,;]+),([^,;]+),([^,;]*),(%a),%d+;)') do
  if eid == id or id == '' and egateway == gateway then
    if egateway ~= gateway then
      elsewhere = true
    elseif status == 't' or status == 'a' then
      mark_late(start, entry)
      return late(eversion)
    else
      seen = true
    end
  end
end
if seen then return {'duplicate'} end
if elsewhere or id == '' and lid then return {'wrong_gateway'} end
return {'unknown'}
