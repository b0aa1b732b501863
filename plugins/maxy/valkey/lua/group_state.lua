-- Put before the scripts of a group of hashes: what is known of the group, and how its record is kept.
--
-- KEYS[1]  the group's record: a hash (docs/adr/0011)
-- KEYS[2]  the index: a sorted set of the group's keys, every score being the publication that wrote them
-- KEYS[3]  where the release before records kept the version of a group without keys
-- KEYS[4]  the registry: a hash of all groups, by their index, with the template of their keys
local record, index, emptied, registry = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
-- Of the registry's groups, so many are looked at when one is entered, and forgotten if their record has expired.
local swept = 16

local function type_of(key)
  return redis.call('TYPE', key).ok
end

local function is_recorded()
  return type_of(record) == 'hash' and redis.call('HGET', record, 'format') == '1'
end

-- What tells one publication of the group from the next. Each has another, so that whoever has read it notices every
-- publication since.
local function state()
  if is_recorded() then
    return redis.call('HGET', record, 'sequence') or ''
  end
  if type_of(index) == 'zset' then
    return 'legacy ' .. redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
  end
  return type_of(emptied) == 'string' and 'legacy ' .. redis.call('GET', emptied) or ''
end

-- Write fields of the record, given as JSON, and enter the group into the registry.
local function keep_record(fields, seconds, template)
  if not is_recorded() then
    redis.call('UNLINK', record)
    if type_of(emptied) == 'string' then
      redis.call('UNLINK', emptied)
    end
  end
  redis.call('HSET', record, 'format', '1')
  for field, value in pairs(cjson.decode(fields)) do
    redis.call('HSET', record, field, value)
  end
  redis.call('EXPIRE', record, seconds)
  for _, known in ipairs(redis.call('HRANDFIELD', registry, swept)) do
    if redis.call('EXISTS', known .. ':group') == 0 then
      redis.call('HDEL', registry, known)
    end
  end
  local remaining = redis.call('TTL', registry)
  redis.call('HSET', registry, index, template)
  if remaining < tonumber(seconds) then
    redis.call('EXPIRE', registry, seconds)
  end
end

-- A generation that readers are not led to any more is noted, so that its keys are retired also if this writer dies.
local function retire_generation()
  local generation = redis.call('HGET', record, 'generation')
  if generation then
    redis.call('HSET', record, 'retiring:' .. generation, '')
    redis.call('HDEL', record, 'generation')
  end
end
