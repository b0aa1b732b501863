-- Put all staged hashes in the place of a group's keys, and remove the group's keys that are no longer in it, in one step:
-- readers see the whole group as it was or as it is. For groups of a few thousand keys, whose step is short.
-- Scripts do not roll back, so everything that can be wrong is checked before the first write.
-- Safe to retry: a token that has published already is answered as it was.
--
-- KEYS[5]  prefix of the staging names
-- ARGV[1]  the state that the group must be in
-- ARGV[2]  fields of the record, as JSON; its sequence is the new index's score
-- ARGV[3]  seconds after which the keys expire
-- ARGV[4]  seconds after which the record expires
-- ARGV[5]  the template of the keys, for the registry
-- ARGV[6]  1 if the index is the group's; another one is given up, with its keys left alone
-- ARGV[7]  how many keys the index may have at the most
-- ARGV[8]  a character per key: 'n' if nothing may be in its place
-- ARGV[9]  the keys, in the order in which their hashes were staged
-- Returns {1, keys that left the group}, or {0} if the group has changed since it was looked at, with nothing changed;
-- or an error, with nothing changed, if a staged hash is gone.
local staging, expire, seconds, places = KEYS[5], ARGV[3], ARGV[4], ARGV[8]
local before_keys = 8
-- Lua's unpack takes some thousand values at the most.
local chunk = 1000
local fields = cjson.decode(ARGV[2])

if is_recorded() and redis.call('HGET', record, 'token') == fields.token then
  return {1, tonumber(redis.call('HGET', record, 'removed'))}
end
local is_own_index = ARGV[6] == '1'
if state() ~= ARGV[1] or (is_own_index and redis.call('ZCARD', index) > tonumber(ARGV[7])) then
  return {0}
end
for first = before_keys + 1, #ARGV, chunk do
  local staged, new = {}, {}
  for position = first, math.min(first + chunk - 1, #ARGV) do
    local number = position - before_keys - 1
    staged[#staged + 1] = staging .. number
    if string.sub(places, number + 1, number + 1) == 'n' then
      new[#new + 1] = ARGV[position]
    end
  end
  if redis.call('EXISTS', unpack(staged)) < #staged then
    return redis.error_reply('STAGEDHASHGONE a staged hash is gone')
  end
  if #new > 0 and redis.call('EXISTS', unpack(new)) > 0 then
    return {0}
  end
end

-- The new index is made beside the old one, so that the difference of the two tells which keys are gone.
local next_index = staging .. 'index'
redis.call('UNLINK', next_index)
for first = before_keys + 1, #ARGV, chunk do
  local scored = {}
  for position = first, math.min(first + chunk - 1, #ARGV) do
    scored[#scored + 1] = fields.sequence
    scored[#scored + 1] = ARGV[position]
    redis.call('RENAME', staging .. (position - before_keys - 1), ARGV[position])
    redis.call('EXPIRE', ARGV[position], expire)
  end
  redis.call('ZADD', next_index, unpack(scored))
end
local gone = is_own_index and redis.call('ZDIFF', 2, index, next_index) or {}
for first = 1, #gone, chunk do
  redis.call('UNLINK', unpack(gone, first, math.min(first + chunk - 1, #gone)))
end
redis.call('UNLINK', index)
if #ARGV > before_keys then
  redis.call('RENAME', next_index, index)
  redis.call('EXPIRE', index, expire)
end
keep_record(ARGV[2], seconds, ARGV[5])
redis.call('HSET', record, 'removed', #gone)
-- A publication in slices that was running is over, its keys being in the index; and so is a generation.
redis.call('HDEL', record, 'running', 'retiring:')
retire_generation()
return {1, #gone}
