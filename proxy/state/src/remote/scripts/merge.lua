-- Adds what a proxy let pass within the last moments, by the server's clock.
--
-- KEYS[1]  as for take
-- ARGV     the debt that it added, ns; over how long it did, µs
-- returns  the debt after that, ns
local added, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local at, debt = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
at, debt = tonumber(at or 0), tonumber(debt or 0)
local passed = math.max(0, now - at)
-- As if all of it had passed when the span began. If it counted as of now, a client that keeps to the limit
-- exactly would be in debt by a span's worth each time.
local before = math.max(0, passed - span)
debt = math.max(0, debt - before * 1000) + added
debt = math.max(0, debt - (passed - before) * 1000)
if debt > 0 then
  local kept = string.format('%.0f %.0f', now, debt)
  redis.call('SET', KEYS[1], kept, 'PX', string.format('%.0f', math.ceil(debt / 1000000)))
else
  redis.call('DEL', KEYS[1])
end
return debt
