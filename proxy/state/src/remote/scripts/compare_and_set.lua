-- Writes a value if the one that is there is still as expected.
--
-- KEYS[1]  the value
-- ARGV     1 if one is expected, else 0; the one expected; the new one; its time to live, ms, or 0
-- returns  whether it was written
local held = redis.call('GET', KEYS[1])
local expected = ARGV[1] == '1' and ARGV[2] or false
if held ~= expected then
  return 0
end
if ARGV[4] == '0' then
  redis.call('SET', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
end
return 1
