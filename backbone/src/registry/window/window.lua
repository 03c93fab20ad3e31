-- A gateway's window: what acquire.lua and release.lua both begin with.
-- KEYS: 1 the gateway's window, 2 the RPCs in flight at it, 3 those that ended before they were counted, by when (one
--       hash slot).
-- ARGV: 1 the time in ms, or '' for Redis' own, 2 limit to begin with, 3 the largest, 4 timeouts in a row that open the
--       breaker, 5 and 6 for how many ms, at first and at most, 7 the longest wait in ms, 8 how many ms to keep both.
-- The RPCs in flight are a sorted set of their IDs by their deadlines. The window is a string of words, in this order:
--   limit      how many RPCs may be in flight
--   interval   ms between two completions while the window is full
--   next       when the label that joins the line next will have its turn
--   again      the same for a label whose turn has come, and that found no place
--   since      when counting completions began, or 0 while the window is not full
--   done       how many there were since
--   latest     the latest deadline of any RPC admitted
--   answered   what was the latest when the gateway last answered: timeouts up to it count as no failures
--   cut        what was the latest when the limit was last halved: it is halved once per window's worth
--   failures   timeouts since the gateway last answered
--   open_until when the breaker lets a probe through, or 0 while it is closed
--   open_for   for how many ms it opened last
--   probe      the RPC that probes the gateway, or '.'
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local limit, interval, next_turn, again, since, done, latest, answered, cut, failures, open_until, open_for, probe
local state = redis.call('GET', KEYS[1])
if state then
  limit, interval, next_turn, again, since, done, latest, answered, cut, failures, open_until, open_for, probe =
    state:match('^(%S+) (%S+) (%S+) (%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+)$')
end
if limit then
  limit, interval, next_turn, again = tonumber(limit), tonumber(interval), tonumber(next_turn), tonumber(again)
  since, done, latest, answered = tonumber(since), tonumber(done), tonumber(latest), tonumber(answered)
  cut, failures, open_until, open_for = tonumber(cut), tonumber(failures), tonumber(open_until), tonumber(open_for)
else
  limit, interval, next_turn, again, since, done = tonumber(ARGV[2]), 5, 0, 0, 0, 0
  latest, answered, cut, failures, open_until, open_for, probe = 0, 0, 0, 0, 0, 0, '.'
end

local function halve()
  if limit <= 1 then interval = math.min(interval * 2, 10000) end
  limit = math.max(limit / 2, 1)
  cut = latest
end

-- The gateway failed at this time.
local function fail(id, at)
  failures = failures + 1
  if id == probe then
    probe = '.'
    open_for = math.min(open_for * 2, tonumber(ARGV[6]))
    open_until = at + open_for
  elseif open_until == 0 and failures >= tonumber(ARGV[4]) then
    open_for = tonumber(ARGV[5])
    open_until = at + open_for
  end
end

-- Places that labels may take that are not urgent.
local function places()
  if limit >= 4 then return limit - 1 end
  return limit
end

local function save()
  redis.call('SET', KEYS[1], string.format(
    '%.17g %.17g %.17g %.17g %d %d %d %d %d %d %d %d %s', limit, interval, next_turn, again, since,
    done, latest, answered, cut, failures, open_until, open_for, probe), 'PX', ARGV[8])
end

-- RPCs whose answers were lost make room: they are over by themselves.
local overdue = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%d', now), 'WITHSCORES')
for i = 1, #overdue, 2 do
  local id, deadline = overdue[i], tonumber(overdue[i + 1])
  if id ~= probe and deadline > cut then halve() end
  if id == probe or deadline > answered then fail(id, deadline) end
end
if overdue[1] then
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%d', now))
end
local in_flight = redis.call('ZCARD', KEYS[2])
