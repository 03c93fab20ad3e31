-- Ends an RPC whose command certainly reached no gateway. The state is described in start.lua.
-- KEYS: 1 RPC state of the label.  ARGV: 1 id, 2 '1' if the gateway failed.
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local state = redis.call('HMGET', KEYS[1], 'lease', 'failed')
local number, renewed, id, gateway, version = (state[1] or ''):match('^(%d+) (%d+) ([^,]*),([^,]*),([^,]*),')
if id ~= ARGV[1] then return '' end
redis.call('HSET', KEYS[1], 'lease', number .. ' ' .. renewed,
  'e' .. number % 8, id .. ',' .. gateway .. ',' .. version .. ',a,' .. now)
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], 'failed', gateway .. ',' .. now .. ';' .. (state[2] or ''))
end
return ''
