-- Give a loop's lease back, if it is still this copy's: a late clean-up takes nothing away from a successor.
--
-- KEYS[1]  the lease
-- ARGV[1]  what the lease holds if the caller has it
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
