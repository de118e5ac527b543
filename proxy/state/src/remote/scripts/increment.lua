-- Adds to a number; a time to live applies when this creates it.
--
-- KEYS[1]  the number
-- ARGV     what to add; the time to live, ms, or 0
-- returns  the sum as text: a number in Lua has only 53 bits
local is_new = redis.call('EXISTS', KEYS[1]) == 0
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) == 'table' and sum.err then
  return sum
end
if is_new and ARGV[2] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('GET', KEYS[1])
