-- Write what one tick has computed: strings (such as a cursor) and hashes, all in one step.
-- Runs behind fenced.lua. Safe to repeat: it sets values and adds none up.
--
-- KEYS[2]    the index: a sorted set of the loop's hash keys, its score the time at which they were last put into it
-- KEYS[3..]  the keys of the strings, then those of the hashes, group by group
-- ARGV[3]    milliseconds until hashes and index expire
-- ARGV[4]    score of the index, in milliseconds; empty: no index is kept
-- ARGV[5]    milliseconds until strings expire
-- ARGV[6]    number of strings, followed by their values
-- then, group by group: 1 if its keys are put into the index, number of hashes, number of fields, the fields' names, then
--            the values hash by hash
-- A value of the one byte 255, which no text has, removes the field.
local ttl, score = ARGV[3], ARGV[4]
local key, position = 3, 7
for _ = 1, tonumber(ARGV[6]) do
  set(KEYS[key], ARGV[position], 'PX', ARGV[5])
  key = key + 1
  position = position + 1
end
while position <= #ARGV do
  local indexed = score ~= '' and ARGV[position] == '1'
  local hashes, fields = tonumber(ARGV[position + 1]), tonumber(ARGV[position + 2])
  local names = position + 2
  position = position + 3 + fields
  for _ = 1, hashes do
    local present, absent = {}, {}
    for field = 1, fields do
      local value = ARGV[position]
      position = position + 1
      if value == '\255' then
        absent[#absent + 1] = ARGV[names + field]
      else
        present[#present + 1] = ARGV[names + field]
        present[#present + 1] = value
      end
    end
    if #present > 0 then
      own('HSET', KEYS[key], unpack(present))
    end
    if #absent > 0 then
      own('HDEL', KEYS[key], unpack(absent))
    end
    own('PEXPIRE', KEYS[key], ttl)
    if indexed then
      own('ZADD', KEYS[2], score, KEYS[key])
    end
    key = key + 1
  end
end
if score ~= '' then
  -- What has not been part of a result for that long has expired or is about to.
  own('ZREMRANGEBYSCORE', KEYS[2], '-inf', '(' .. string.format('%.0f', tonumber(score) - tonumber(ttl)))
  own('PEXPIRE', KEYS[2], ttl)
end
return key - 3
