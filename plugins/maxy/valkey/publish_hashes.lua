-- Put all staged hashes in the place of a group's keys, and remove the group's keys that are no longer in it, in one step:
-- readers see the whole group as it was or as it is.
-- Scripts do not roll back, so everything that can be wrong is checked before the first write.
--
-- KEYS[1]  the group's index: a sorted set of its keys, every score being the version that was published
-- KEYS[2]  prefix of the staging names
-- ARGV[1]  version (a number); a group of a higher version is left as it is
-- ARGV[2]  seconds after which the keys expire
-- ARGV[3]  the keys, in the order in which their hashes were staged
-- Returns {1, number of keys removed} or {0, the higher version}, or an error, with nothing changed, if a staged hash is gone.
local index, staging, version = KEYS[1], KEYS[2], ARGV[1]
local newest = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')
if newest[2] and tonumber(newest[2]) > tonumber(version) then
  for position = 3, #ARGV do
    redis.call('UNLINK', staging .. (position - 3))
  end
  return {0, newest[2]}
end
for position = 3, #ARGV do
  if redis.call('EXISTS', staging .. (position - 3)) == 0 then
    return redis.error_reply('STAGEDHASHGONE staged hash ' .. (position - 3) .. ' is gone')
  end
end
local published = redis.call('ZRANGE', index, 0, -1)
redis.call('UNLINK', index)
for position = 3, #ARGV do
  local key = ARGV[position]
  redis.call('RENAME', staging .. (position - 3), key)
  redis.call('EXPIRE', key, ARGV[2])
  redis.call('ZADD', index, version, key)
end
local removed = 0
for _, key in ipairs(published) do
  if not redis.call('ZSCORE', index, key) then
    removed = removed + redis.call('UNLINK', key)
  end
end
redis.call('EXPIRE', index, ARGV[2])
return {1, removed}
