-- Starts an RPC: fence, lease and route in one round trip.
-- KEYS: 1 route of the label (a hash: gateway to 'dBm time', and 'battery' to mV), 2 RPC state of the label (one hash slot).
-- ARGV: 1 id, 2 version or '', 3 reply queue, 4 time left in ms, 5 '1' if this RPC may have been started before,
--       6 quarantine in ms, 7 age in ms at which a route is stale, 8 time in ms to keep the state, 9 hysteresis in dB,
--       10 age in ms up to which a failure of a gateway counts, 11 gateways that are offline, separated by commas.
-- Returns 'send <gateway>', or one word that says why not.
-- The state is a hash of
--   lease:  'number renewed', and while an RPC is in flight, or in quarantine after it,
--           ' id,gateway,version,reply queue,deadline,held until' after that: how many RPCs there were, and when the
--           time to keep the state was last renewed
--   fence:  the newest version started
--   e0..e7: 'id,gateway,version,status,time' of the latest RPCs that ended, by number modulo 8
--   failed: 'gateway,time;' of recent failures, newest first; absent or empty when there are none
--   via:    the gateway that answered last
--   echo:   'gateway,' of those that have echoed a correlation ID for this label
-- with status d done, n refused for a passing reason, t timed out, a not sent, l answered late.
-- Most RPCs find a free lease, no failures and a known gateway: that path reads and writes little, and allocates less.
local id, version = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[2], 'lease', 'fence', 'via', 'echo', 'failed')
local lease, fence, via, echo, failed = state[1], state[2], state[3], state[4], state[5]
local number, renewed, holder = 0, 0, ''
if lease then number, renewed, holder = lease:match('^(%d+) (%d+)(.*)$') end
local fields = {}

if holder ~= '' then
  local lid, gateway, lversion, deadline, held = holder:match('^ ([^,]*),([^,]*),([^,]*),[^,]*,(%d+),(%d+)$')
  if lid == id then -- a redelivered request: the same command again, while there is time
    if now > tonumber(deadline) then return 'expired' end
    return 'send ' .. gateway
  end
  if now < tonumber(held) then
    if version ~= '' and fence and tonumber(version) < tonumber(fence) then return 'superseded' end
    return 'busy'
  end
  fields = {'e' .. number % 8, lid .. ',' .. gateway .. ',' .. lversion .. ',t,' .. deadline}
  failed = gateway .. ',' .. deadline .. ';' .. (failed or '')
end
if ARGV[5] == '1' then
  local ended = redis.call('HMGET', KEYS[2], 'e0', 'e1', 'e2', 'e3', 'e4', 'e5', 'e6', 'e7')
  if fields[2] then ended[number % 8 + 1] = fields[2] end
  for i = 1, 8 do
    if ended[i] and ended[i]:sub(1, #id + 1) == id .. ',' then return 'done' end
  end
end
if version ~= '' and fence and tonumber(version) < tonumber(fence) then return 'superseded' end

local failures
if failed and failed ~= '' then
  failures = {}
  local count, recent = 0, ''
  for gateway, at in failed:gmatch('([^,;]+),(%d+);') do
    if count < 8 and now - at < tonumber(ARGV[10]) then
      count = count + 1
      recent = recent .. gateway .. ',' .. at .. ';'
      failures[gateway] = (failures[gateway] or 0) + 1
    end
  end
  fields[#fields + 1] = 'failed'
  fields[#fields + 1] = recent
end

local best, best_rssi, best_failures
local stale_after = tonumber(ARGV[7])
local routes = redis.call('HGETALL', KEYS[1])
for i = 1, #routes, 2 do
  local gateway = routes[i]
  local rssi, at = routes[i + 1]:match('^(-?%d+) (%d+)$')
  if rssi and now - at <= stale_after and not ARGV[11]:find(gateway, 1, true) then
    rssi = tonumber(rssi)
    if gateway == via then rssi = rssi + tonumber(ARGV[9]) end
    local failed_before = failures and failures[gateway] or 0
    if not best or failed_before < best_failures or failed_before == best_failures and rssi > best_rssi then
      best, best_rssi, best_failures = gateway, rssi, failed_before
    end
  elseif gateway ~= 'battery' and (not rssi or now - at > 10 * stale_after) then
    redis.call('HDEL', KEYS[1], gateway)
  end
end
if not best then return 'no_route' end

local deadline = now + tonumber(ARGV[4])
local held = deadline
if not (echo and echo:find(best, 1, true)) then held = held + tonumber(ARGV[6]) end
-- The state must outlive its last use by what ARGV[8] says, or a little less: renewing costs a call of its own.
local keep = tonumber(ARGV[8])
local renew = now - renewed > keep / 24
if renew then renewed = now end
local count = #fields
fields[count + 1] = 'lease'
fields[count + 2] = string.format('%d %s %s,%s,%s,%s,%d,%d',
  number + 1, renewed, id, best, version, ARGV[3], deadline, held)
if version ~= '' and version ~= fence then
  fields[count + 3] = 'fence'
  fields[count + 4] = version
end
redis.call('HSET', KEYS[2], unpack(fields))
if renew then redis.call('PEXPIRE', KEYS[2], keep) end
return 'send ' .. best
