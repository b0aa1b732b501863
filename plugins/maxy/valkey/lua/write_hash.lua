-- Put before the scripts that write hashes.
-- Lua's unpack takes some thousand values at the most.
local unpacked = 1000

-- Write a hash where nothing is, from so many fields whose names and values begin at these positions of ARGV. A value that is
-- the text for absent ones leaves its field out.
local function write_hash(key, fields, names, values, absent, seconds)
  local arguments = {}
  for field = 0, fields - 1 do
    local value = ARGV[values + field]
    if value ~= absent then
      arguments[#arguments + 1] = ARGV[names + field]
      arguments[#arguments + 1] = value
    end
    if #arguments >= unpacked or (field == fields - 1 and #arguments > 0) then
      redis.call('HSET', key, unpack(arguments))
      arguments = {}
    end
  end
  redis.call('EXPIRE', key, seconds)
end
