-- Move some keys of a scatter on: take out points that are too old or that make room, put new ones in, tell how many
-- there are. What this does to the sample is noted in the same step, so that any copy that takes over knows the points.
-- Runs behind fenced.lua. Safe to repeat: points are members of sets, and the note is a member of one.
--
-- KEYS[2]    the notes: a sorted set, its score the newest arrival of the points that a note speaks of
-- KEYS[3..]  of each key of the scatter: the sorted set of its points, and the hash beside it
-- ARGV[3]    points that arrived before this instant are too old; every instant is in milliseconds since 1970
-- ARGV[4]    the present instant in ISO 8601
-- ARGV[5]    milliseconds until the notes expire
-- ARGV[6]    score of the note
-- ARGV[7]    the note; empty: there is none
-- ARGV[8]    number of bands, followed by the names of their counts
-- then       one text of words: key by key 1 if there should be points of it, milliseconds until it expires, 1 if this is
--              the last that is told of it, server type, newest arrival in ISO 8601, the count of each band,
--              number of points to take out, the arrival and the check sum of each,
--              number of points to put in, the arrival of each
-- then       the points to put in, a line each (one argument, since each argument costs the client)
-- then       the keys' packages
-- Returns how many keys have lost all of their points to somebody else.

-- CRC-32 as zlib computes it; only points of the same millisecond are told apart by it.
local crc_table
local function crc32(text)
  if not crc_table then
    crc_table = {}
    for value = 0, 255 do
      local rest = value
      for _ = 1, 8 do
        local odd = bit.band(rest, 1) == 1
        rest = bit.rshift(rest, 1)
        if odd then
          rest = bit.bxor(rest, 0xEDB88320)
        end
      end
      crc_table[value] = rest
    end
  end
  local crc = 0xFFFFFFFF
  for position = 1, #text do
    crc = bit.bxor(bit.rshift(crc, 8), crc_table[bit.band(bit.bxor(crc, text:byte(position)), 0xFF)])
  end
  -- The library's numbers are signed.
  return bit.bnot(crc) % 4294967296
end

local function take_out(points, arrival, mark)
  local found = own('ZRANGEBYSCORE', points, arrival, arrival)
  for _, text in ipairs(found) do
    if #found == 1 or crc32(text) == tonumber(mark) then
      own('ZREM', points, text)
      return
    end
  end
end

local bands, lost = tonumber(ARGV[8]), 0
local word, line = ARGV[9 + bands]:gmatch('%S+'), ARGV[10 + bands]:gmatch('[^\n]+')
for key = 3, #KEYS, 2 do
  local points, meta = KEYS[key], KEYS[key + 1]
  local filled, ttl, is_last = word() == '1', word(), word() == '1'
  local fields = {
    'package_nm', ARGV[11 + bands + (key - 3) / 2], 'server_type', word(), 'last_reg_dt', word(), 'updated_at', ARGV[4]
  }
  for band = 1, bands do
    fields[#fields + 1] = ARGV[8 + band]
    fields[#fields + 1] = word()
  end
  if not filled then
    expect(points, 'zset')
    redis.call('DEL', points)
  elseif own('ZREMRANGEBYSCORE', points, '-inf', '(' .. ARGV[3]) == 0 and redis.call('EXISTS', points) == 0 then
    lost = lost + 1
  end
  for _ = 1, tonumber(word()) do
    take_out(points, word(), word())
  end
  local added = {}
  for place = 1, 2 * tonumber(word()), 2 do
    added[place] = word()
    added[place + 1] = line()
  end
  if #added > 0 then
    own('ZADD', points, unpack(added))
    own('HSET', meta, 'last_saved_at', ARGV[4])
  end
  if is_last then
    if redis.call('PEXPIRE', points, ttl) == 0 then
      expect(meta, 'hash')
      redis.call('DEL', meta)
    else
      own('HSET', meta, 'points', own('ZCARD', points), unpack(fields))
      redis.call('PEXPIRE', meta, ttl)
    end
  end
end
if ARGV[7] ~= '' then
  own('ZADD', KEYS[2], ARGV[6], ARGV[7])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return lost
