-- Put before every script that writes for a live loop: it runs only for the copy that holds the loop's lease, and prolongs
-- the lease. A copy that was stopped, or that has been replaced, can thus write nothing, however late its command arrives.
--
-- KEYS[1]  the lease
-- ARGV[1]  what the lease holds if the caller has it
-- ARGV[2]  milliseconds until the lease expires
-- A lease of another type is nobody's; acquire_lease.lua replaces it.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('LEASELOST another copy of the loop holds the lease, or nobody does')
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
