-- Write a slice of a group's hashes, and note them in the index: plain keys, or those of a generation that readers are not
-- led to yet. Each key is whole at every moment.   Safe to retry: writes the same again.
--
-- KEYS[5]  the index that remembers the keys: the group's, or the generation's
-- ARGV[1]  a field of the record, and ARGV[2] what must be in it, else this writer has been overtaken
-- ARGV[3]  what follows the keys' names
-- ARGV[4]  the publication, for the index
-- ARGV[5]  seconds after which the keys expire
-- ARGV[6]  the text that stands for no value
-- ARGV[7]  number of fields, followed by the fields' names, followed by hash after hash: its key; 1 if something else
--          may be replaced, or 0; its values
-- Returns 1; 0 if this writer has been overtaken; or the key in whose place there is something that the group has not
-- written, with nothing changed.
local written_index, suffix, fields = KEYS[5], ARGV[3], tonumber(ARGV[7])
if redis.call('HGET', record, ARGV[1]) ~= ARGV[2] then
  return 0
end
local first, step = 8 + fields, fields + 2
local scored, there = {}, {}
for position = first, #ARGV, step do
  local key = ARGV[position]
  if redis.call('EXISTS', key .. suffix) == 1 then
    if ARGV[position + 1] == '0' and not redis.call('ZSCORE', written_index, key) then
      return key .. suffix
    end
    there[#there + 1] = key .. suffix
  end
  scored[#scored + 1] = ARGV[4]
  scored[#scored + 1] = key
end
if #there > 0 then
  redis.call('UNLINK', unpack(there))
end
redis.call('ZADD', written_index, unpack(scored))
for position = first, #ARGV, step do
  write_hash(ARGV[position] .. suffix, fields, 8, position + 2, ARGV[6], ARGV[5])
end
redis.call('EXPIRE', written_index, ARGV[5], 'NX')
return 1
