-- Take a loop's lease unless another copy holds it. The copy that holds it already gets a new fence number: what it sent
-- under the old one and what has not arrived yet is refused from now on.
-- The fence number grows with every tenure, also when the database was emptied in between, since it is never below the
-- server's clock in microseconds.
--
-- KEYS[1]  the lease
-- KEYS[2]  the last fence number
-- ARGV[1]  token of this copy
-- ARGV[2]  milliseconds until the lease expires
-- Returns what the lease holds now ("<fence>:<token>"), or false if another copy holds it.
local held = redis.call('GET', KEYS[1])
if held and string.match(held, '^%d+:(.*)$') ~= ARGV[1] then
  return false
end
local time = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local fence = math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), last + 1)
local holder = string.format('%.0f', fence) .. ':' .. ARGV[1]
redis.call('SET', KEYS[2], string.format('%.0f', fence))
redis.call('SET', KEYS[1], holder, 'PX', ARGV[2])
return holder
