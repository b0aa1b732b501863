-- Begin to publish a group's plain keys in slices: from here on this writer's publication is the group's newest, and only
-- a writer that has read later may write.   Safe to retry: a token that has begun already is answered as it was.
--
-- ARGV[1]  the state that the group must be in
-- ARGV[2]  fields of the record, as JSON, among them `running`, this publication's token
-- ARGV[3]  seconds after which the keys expire
-- ARGV[4]  seconds after which the record expires
-- ARGV[5]  the template of the keys, for the registry
-- ARGV[6]  1 if the index is the group's; another one is given up, with its keys left alone
-- Returns 1, or 0 if the group has changed since it was looked at.
local token = cjson.decode(ARGV[2]).running
if is_recorded() and redis.call('HGET', record, 'running') == token then
  return 1
end
if state() ~= ARGV[1] then
  return 0
end
if ARGV[6] == '1' then
  redis.call('EXPIRE', index, ARGV[3])
else
  redis.call('UNLINK', index)
end
keep_record(ARGV[2], ARGV[4], ARGV[5])
redis.call('HDEL', record, 'token', 'retiring:')
return 1
