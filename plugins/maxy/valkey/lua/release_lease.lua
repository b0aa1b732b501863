-- Give a loop's lease back, if it is still this copy's: a late clean-up takes nothing away from a successor.
--
-- KEYS[1]  the lease
-- ARGV[1]  token of this copy; the fence number does not matter, for the copy may not have heard of its last one
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' and string.match(held, '^%d+:(.*)$') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
