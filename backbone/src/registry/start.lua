-- Starts an RPC: fence, lease and route in one round trip.
-- KEYS: 1 route of the label, 2 RPC state of the label (one hash slot).
-- ARGV: 1 id, 2 version or '', 3 reply queue, 4 time left in ms, 5 quarantine in ms, 6 age in ms at which a route is
--       stale, 7 time in ms to keep the state, 8 hysteresis in dB, 9 age in ms up to which a failure of a gateway
--       counts, 10 gateways that are offline, separated by commas.
-- The state is a hash of
--   lease: 'id,gateway,version,reply queue,deadline,held until'  the RPC in flight, or in quarantine after it
--   fence: the newest version started
--   ended: 'id,gateway,version,status,time;' of the latest RPCs, newest first, at most 8
--   via:   the gateway that answered last
--   echo:  'gateway,' of those that have echoed a correlation ID for this label
-- with status d done, n refused for a passing reason, t timed out, a not sent, l answered late.
local id, version, left = ARGV[1], ARGV[2], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[2], 'lease', 'fence', 'ended', 'via', 'echo')
local lease, fence, ended, via, echo = state[1], state[2], state[3] or '', state[4], state[5] or ''

if lease then
  local lid, gateway, lversion, deadline, held = lease:match('^([^,]*),([^,]*),([^,]*),[^,]*,(%d+),(%d+)$')
  if lid == id then -- a redelivered request: the same command again, while there is time
    if now > tonumber(deadline) then return {'expired'} end
    return {'send', gateway}
  end
  if now < tonumber(held) then
    if version ~= '' and fence and tonumber(version) < tonumber(fence) then return {'superseded'} end
    return {'busy'}
  end
  ended = lid .. ',' .. gateway .. ',' .. lversion .. ',t,' .. deadline .. ';' .. ended
end
if (';' .. ended):find(';' .. id .. ',', 1, true) then return {'done'} end
if version ~= '' and fence and tonumber(version) < tonumber(fence) then return {'superseded'} end

local failures, kept = {}, 0
local recent = ''
for entry, gateway, status, at in ended:gmatch('([^,;]+,([^,;]+),[^,;]*,(%a),(%d+);)') do
  kept = kept + 1
  if kept <= 8 then recent = recent .. entry end
  if status ~= 'd' and now - at < tonumber(ARGV[9]) then failures[gateway] = (failures[gateway] or 0) + 1 end
end

local best, best_rssi, best_failures
local routes = redis.call('HGETALL', KEYS[1])
for i = 1, #routes, 2 do
  local gateway = routes[i]
  local rssi, at = routes[i + 1]:match('^(-?%d+) (%d+)$')
  if rssi and now - at <= tonumber(ARGV[6]) and not ARGV[10]:find(gateway, 1, true) then
    rssi = tonumber(rssi)
    if gateway == via then rssi = rssi + tonumber(ARGV[8]) end
    local failed = failures[gateway] or 0
    if not best or failed < best_failures or failed == best_failures and rssi > best_rssi then
      best, best_rssi, best_failures = gateway, rssi, failed
    end
  elseif not rssi or now - at > 10 * tonumber(ARGV[6]) then
    redis.call('HDEL', KEYS[1], gateway)
  end
end
if not best then return {'no_route'} end

local deadline = now + left
local held = deadline
if not echo:find(best, 1, true) then held = held + tonumber(ARGV[5]) end
lease = id .. ',' .. best .. ',' .. version .. ',' .. ARGV[3] .. ',' .. deadline .. ',' .. held
if version == '' then
  redis.call('HSET', KEYS[2], 'lease', lease, 'ended', recent)
else
  redis.call('HSET', KEYS[2], 'lease', lease, 'ended', recent, 'fence', version)
end
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return {'send', best}
