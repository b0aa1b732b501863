-- Remove some of the group's keys that the publication in slices has not written.   Safe to retry.
--
-- ARGV[1]  the publication's token
-- ARGV[2]  its score in the index
-- ARGV[3]  how many keys at the most
-- Returns how many were removed, 0 at the end; -1 if this writer has been overtaken.
if redis.call('HGET', record, 'running') ~= ARGV[1] then
  return -1
end
local gone = redis.call('ZRANGE', index, '(' .. ARGV[2], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[3])
if #gone == 0 then
  gone = redis.call('ZRANGE', index, '-inf', '(' .. ARGV[2], 'BYSCORE', 'LIMIT', 0, ARGV[3])
end
if #gone > 0 then
  redis.call('UNLINK', unpack(gone))
  redis.call('ZREM', index, unpack(gone))
end
return #gone
