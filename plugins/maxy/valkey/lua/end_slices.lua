-- End a publication in slices: the group is whole.   Safe to retry.
--
-- ARGV[1]  the publication's token
-- ARGV[2]  seconds after which the keys expire
-- Returns 1; 0 if this writer has been overtaken.
if redis.call('HGET', record, 'token') == ARGV[1] then
  return 1
end
if redis.call('HGET', record, 'running') ~= ARGV[1] then
  return 0
end
redis.call('EXPIRE', index, ARGV[2])
redis.call('HDEL', record, 'running')
redis.call('HSET', record, 'token', ARGV[1])
retire_generation()
return 1
