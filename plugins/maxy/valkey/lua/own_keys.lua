-- Put before every script of a live loop. A key that the loop owns and that somebody has given another type must not stop
-- what is done to all its others: it is replaced, as if it had been deleted, counted and named.
--
-- What a script returns is wrapped as {{number of replaced keys, key, type, key, type ...}, its own answer}; see Lease.
local replaced, most_named = {0}, 10

local function replace(key, found)
  redis.call('UNLINK', key)
  replaced[1] = replaced[1] + 1
  if replaced[1] <= most_named then
    replaced[#replaced + 1] = key
    replaced[#replaced + 1] = found
  end
end

-- A command on one key that is there to be changed. Any other error names the key: the server's own does not.
local function own(command, key, ...)
  local answer = redis.pcall(command, key, ...)
  if type(answer) == 'table' and answer.err then
    if string.sub(answer.err, 1, 9) ~= 'WRONGTYPE' then
      error({err = answer.err .. ' (' .. command .. ' ' .. key .. ')'})
    end
    replace(key, redis.call('TYPE', key).ok)
    answer = redis.call(command, key, ...)
  end
  return answer
end

-- Before commands that take any type, such as SET and DEL, which would hide what was there.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    replace(key, found)
  end
end

local function set(key, ...)
  expect(key, 'string')
  return own('SET', key, ...)
end
