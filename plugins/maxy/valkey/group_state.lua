-- Put before the scripts of a group of hashes: what tells one publication of the group from the next.
-- The index has the version as its scores. A group without keys has no index, so its version is kept beside it: else a
-- writer that began before the group became empty could not tell, and would bring the former keys back.
-- A key of another type in the place of either is no state.
local function type_of(key)
  return redis.call('TYPE', key).ok
end

local function state_of(index, emptied)
  if type_of(index) == 'zset' then
    return redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
  end
  return type_of(emptied) == 'string' and redis.call('GET', emptied) or ''
end
