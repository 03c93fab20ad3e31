-- Ends an RPC whose command certainly reached no gateway. The state is described in start.lua.
-- KEYS: 1 RPC state of the label.  ARGV: 1 id.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', KEYS[1], 'lease', 'ended')
if not state[1] then return {} end
local id, gateway, version = state[1]:match('^([^,]*),([^,]*),([^,]*),')
if id ~= ARGV[1] then return {} end
redis.call('HDEL', KEYS[1], 'lease')
redis.call('HSET', KEYS[1], 'ended', id .. ',' .. gateway .. ',' .. version .. ',a,' .. now .. ';' .. (state[2] or ''))
return {}
