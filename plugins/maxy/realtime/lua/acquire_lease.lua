-- Take a loop's lease unless another copy holds it.
-- The fence number grows with every holder, also when the database was emptied in between, since it is never below the
-- server's clock in milliseconds.
--
-- KEYS[1]  the lease
-- KEYS[2]  the last fence number
-- ARGV[1]  token of this copy
-- ARGV[2]  milliseconds until the lease expires
-- Returns what the lease holds now ("<fence>:<token>"), or false if another copy holds it.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return false
end
local time = redis.call('TIME')
local fence = math.max(tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), tonumber(redis.call('GET', KEYS[2]) or '0') + 1)
local holder = string.format('%.0f', fence) .. ':' .. ARGV[1]
redis.call('SET', KEYS[2], string.format('%.0f', fence))
redis.call('SET', KEYS[1], holder, 'PX', ARGV[2])
return holder
