-- Put all staged hashes in the place of a group's keys, and remove the group's keys that are no longer in it, in one step:
-- readers see the whole group as it was or as it is.
-- Scripts do not roll back, so everything that can be wrong is checked before the first write. A key of another type in
-- the place of the index or of a hash is replaced, so that it stops none of the others.
--
-- KEYS[1]  the group's index: a sorted set of its keys, every score being the version that was published
-- KEYS[2]  where the version of a group without keys is kept
-- KEYS[3]  prefix of the staging names
-- ARGV[1]  'version': a group of a higher version is left as it is
--          'state': a group that is not in the state that was read is left as it is
-- ARGV[2]  the version (a number), or the state
-- ARGV[3]  the version of a group that had none (a number), for 'state'
-- ARGV[4]  seconds after which the keys expire
-- ARGV[5]  the keys, in the order in which their hashes were staged
-- Returns {1, keys that left the group, keys of another type that were replaced, up to ten of their names}
-- or {0, the state that was found}, or an error, with nothing changed, if a staged hash is gone.
local index, emptied, staging, expire = KEYS[1], KEYS[2], KEYS[3], ARGV[4]
local before_keys = 4
-- Lua's unpack takes some thousand values at the most.
local chunk = 1000
-- From here on a double does not hold every whole number.
local too_large = 9007199254740991

local state = state_of(index, emptied)
local version, is_newer
if ARGV[1] == 'version' then
  version = ARGV[2]
  -- An empty group has never kept a later result out.
  is_newer = type_of(index) == 'zset' and tonumber(state) > tonumber(version)
else
  is_newer = state ~= ARGV[2]
  local number = tonumber(state)
  local has_successor = number and number >= 0 and number < too_large
  version = has_successor and string.format('%.0f', math.floor(number) + 1) or ARGV[3]
end
if is_newer then
  for position = before_keys + 1, #ARGV do
    redis.call('UNLINK', staging .. (position - before_keys - 1))
  end
  return {0, state}
end

-- The new index is made beside the old one, so that the difference of the two tells which keys are gone.
local next_index = staging .. 'index'
redis.call('UNLINK', next_index)
for first = before_keys + 1, #ARGV, chunk do
  local staged, scored = {}, {}
  for position = first, math.min(first + chunk - 1, #ARGV) do
    staged[#staged + 1] = staging .. (position - before_keys - 1)
    scored[#scored + 1] = version
    scored[#scored + 1] = ARGV[position]
  end
  if redis.call('EXISTS', unpack(staged)) < #staged then
    redis.call('UNLINK', next_index)
    return redis.error_reply('STAGEDHASHGONE a staged hash is gone')
  end
  redis.call('ZADD', next_index, unpack(scored))
end

local replaced, named = 0, {}
local function note_another_type(key, expected)
  local found = type_of(key)
  if found ~= expected and found ~= 'none' then
    replaced = replaced + 1
    if #named < 10 then
      named[#named + 1] = key
    end
    return true
  end
  return false
end

if note_another_type(index, 'zset') then
  redis.call('UNLINK', index)
end
for position = before_keys + 1, #ARGV do
  note_another_type(ARGV[position], 'hash')
  redis.call('RENAME', staging .. (position - before_keys - 1), ARGV[position])
  redis.call('EXPIRE', ARGV[position], expire)
end
local gone = redis.call('ZDIFF', 2, index, next_index)
for _, key in ipairs(gone) do
  redis.call('UNLINK', key)
end
redis.call('UNLINK', emptied)
if #ARGV > before_keys then
  redis.call('RENAME', next_index, index)
  redis.call('EXPIRE', index, expire)
else
  redis.call('UNLINK', index)
  if ARGV[1] == 'state' then
    redis.call('SET', emptied, version, 'EX', expire)
  end
end
return {1, #gone, replaced, named}
