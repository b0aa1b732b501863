-- Lead readers to a generation whose keys are all written: one small step.
-- Safe to retry: a token that has published already is answered as it was.
--
-- KEYS[5]  the generation's index
-- ARGV[1]  the state that the group must be in
-- ARGV[2]  fields of the record, as JSON
-- ARGV[3]  the generation
-- ARGV[4]  how many keys it has
-- ARGV[5]  seconds after which the record expires
-- ARGV[6]  the template of the keys, for the registry
-- ARGV[7]  1 if there are plain keys of the group in the index, which the generation replaces
-- Returns {1, the generation before; false if there was none}, or {0} if the group has changed since it was looked at; or
-- an error, with nothing changed, if keys of the generation are gone.
local fields = cjson.decode(ARGV[2])
if redis.call('HGET', record, 'token') == fields.token then
  return {1, redis.call('HGET', record, 'former')}
end
if state() ~= ARGV[1] then
  return {0}
end
if redis.call('HEXISTS', record, 'writing:' .. ARGV[3]) == 0 or redis.call('ZCARD', KEYS[5]) ~= tonumber(ARGV[4]) then
  return redis.error_reply('GENERATIONGONE keys of the generation are gone')
end
local former = redis.call('HGET', record, 'generation')
retire_generation()
keep_record(ARGV[2], ARGV[5], ARGV[6])
redis.call('HDEL', record, 'running', 'writing:' .. ARGV[3])
redis.call('HSET', record, 'generation', ARGV[3])
if ARGV[7] == '1' then
  redis.call('HSET', record, 'retiring:', '')
  former = former or ''
end
if former then
  redis.call('HSET', record, 'former', former)
else
  redis.call('HDEL', record, 'former')
end
return {1, former}
