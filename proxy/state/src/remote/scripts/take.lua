-- Decides whether a cost passes and counts it, by the server's clock.
--
-- KEYS[1]  what is kept of the key: when it was last written, µs, and its debt then, ns
-- ARGV     what the cost adds to the debt, ns; the debt that admits nothing more, ns
-- returns  whether it passes, and the debt after that, ns
local price, full = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local at, debt = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
at, debt = tonumber(at or now), tonumber(debt or 0)
-- A clock that was set back melts nothing, but must not hold the debt up until it has caught up.
debt = math.max(0, debt - math.max(0, now - at) * 1000)
local passes = price == 0 or debt + price <= full
if passes then
  debt = debt + price
end
if debt > 0 and ((passes and price > 0) or now < at) then
  local kept = string.format('%.0f %.0f', now, debt)
  redis.call('SET', KEYS[1], kept, 'PX', string.format('%.0f', math.ceil(debt / 1000000)))
end
return { passes and 1 or 0, debt }
