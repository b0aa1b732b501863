-- Write a batch of hashes under staging names, where no reader looks.
-- Safe to retry: a staged hash is replaced as a whole, and expires by itself if it is never published.
--
-- KEYS[1]  prefix of the staging names; hash n is staged as <prefix><n>
-- ARGV[1]  number of the batch's first hash
-- ARGV[2]  seconds after which a staged hash expires
-- ARGV[3]  number of fields, followed by the fields' names, followed by the values, hash by hash
-- A value of one NUL byte means that the hash has no such field.
local fields = tonumber(ARGV[3])
local number = tonumber(ARGV[1])
local position = 3 + fields
while position < #ARGV do
  local arguments = {}
  for field = 1, fields do
    local value = ARGV[position + field]
    if value ~= '\0' then
      arguments[#arguments + 1] = ARGV[3 + field]
      arguments[#arguments + 1] = value
    end
  end
  local key = KEYS[1] .. number
  redis.call('UNLINK', key)
  if #arguments > 0 then
    redis.call('HSET', key, unpack(arguments))
    redis.call('EXPIRE', key, ARGV[2])
  end
  number = number + 1
  position = position + fields
end
return number
