-- Put all staged hashes in the place of a group's keys, and remove the group's keys that are no longer in it, in one step:
-- readers see the whole group as it was or as it is.
-- Scripts do not roll back, so everything that can be wrong is checked before the first write.
--
-- KEYS[1]  the group's index: a sorted set of its keys, every score being the version that was published
-- KEYS[2]  prefix of the staging names
-- ARGV[1]  version (a number); a group of a higher version is left as it is
-- ARGV[2]  seconds after which the keys expire
-- ARGV[3]  the keys, in the order in which their hashes were staged
-- Returns {1, number of keys that left the group} or {0, the higher version}, or an error, with nothing changed, if a staged hash is gone.
local index, staging, version = KEYS[1], KEYS[2], ARGV[1]
-- Lua's unpack takes some thousand values at the most.
local chunk = 1000
local newest = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')
if newest[2] and tonumber(newest[2]) > tonumber(version) then
  for position = 3, #ARGV do
    redis.call('UNLINK', staging .. (position - 3))
  end
  return {0, newest[2]}
end

-- The new index is made beside the old one, so that the difference of the two tells which keys are gone.
local next_index = staging .. 'index'
redis.call('UNLINK', next_index)
for first = 3, #ARGV, chunk do
  local staged, scored = {}, {}
  for position = first, math.min(first + chunk - 1, #ARGV) do
    staged[#staged + 1] = staging .. (position - 3)
    scored[#scored + 1] = version
    scored[#scored + 1] = ARGV[position]
  end
  if redis.call('EXISTS', unpack(staged)) < #staged then
    redis.call('UNLINK', next_index)
    return redis.error_reply('STAGEDHASHGONE a staged hash is gone')
  end
  redis.call('ZADD', next_index, unpack(scored))
end

for position = 3, #ARGV do
  redis.call('RENAME', staging .. (position - 3), ARGV[position])
  redis.call('EXPIRE', ARGV[position], ARGV[2])
end
local gone = redis.call('ZDIFF', 2, index, next_index)
for _, key in ipairs(gone) do
  redis.call('UNLINK', key)
end
if #ARGV > 2 then
  redis.call('RENAME', next_index, index)
  redis.call('EXPIRE', index, ARGV[2])
else
  redis.call('UNLINK', index)
end
return {1, #gone}
