-- Adds what a proxy let pass within the last moments, by the server's clock.
--
-- KEYS[1]  as for take
-- ARGV     the debt that it added, ns; over how long it did, µs
-- returns  the debt after that, ns
local added, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- As if all of it had passed when the span began. If it counted as of now, a client that keeps to the limit
-- exactly would be in debt by a span's worth each time.
local began = now - span
local at, debt = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
at, debt = math.min(tonumber(at or began), now), tonumber(debt or 0)
-- What melts after the span began is not taken off what is kept: the spans of other proxies lie beside this one,
-- and each of them alone may have kept to the limit.
debt = math.max(0, debt - math.max(0, began - at) * 1000) + added
at = math.max(at, began)
if debt > 0 then
  local kept = string.format('%.0f %.0f', at, debt)
  redis.call('SET', KEYS[1], kept, 'PX', string.format('%.0f', math.ceil(debt / 1000000)))
else
  redis.call('DEL', KEYS[1])
end
return math.max(0, debt - (now - at) * 1000)
