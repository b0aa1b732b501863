-- Move some keys of a scatter on: take out points that are too old or that make room, put new ones in, tell how many
-- there are. What this does to the sample is noted in the same step, so that any copy that takes over knows the points.
-- Runs behind fenced.lua. Safe to repeat: points are members of sets, and the note is a member of one.
--
-- KEYS[2]    the notes: a sorted set, its score the newest arrival of the points that a note speaks of
-- KEYS[3..]  of each key of the scatter: the sorted set of its points, and the hash beside it
-- ARGV[3]    version of this list: other arguments are refused before anything is written
-- ARGV[4]    points that arrived before this instant are too old; every instant is in milliseconds since 1970
-- ARGV[5]    the present instant in ISO 8601
-- ARGV[6]    milliseconds until the notes expire
-- ARGV[7]    score of the note
-- ARGV[8]    the note; empty: there is none
-- ARGV[9]    number of bands, followed by the names of their counts
-- then       one text of words, key by key:
--              filled      1 if there should be points of it already
--              ttl         milliseconds until it expires
--              is_last     1 if this is the last that is told of it
--              server      its server type
--              newest      its newest arrival in ISO 8601
--              count       of each band
--              displaced   number of points to take out, then the arrival and the check sum of each
--              added       number of points to put in, then the arrival of each
-- then       the points to put in, a line each
-- then       the keys' packages
-- Returns how many keys have lost all of their points to somebody else.
-- protocol.py writes this list; the version grows with every change of it.
local VERSION = '1'

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

local function words_of(text)
  local words, number = {}, 0
  for word in text:gmatch('%S+') do
    number = number + 1
    words[number] = word
  end
  return words
end

local function lines_of(text)
  local lines, number, start = {}, 0, 1
  while start <= #text do
    local stop = text:find('\n', start, true) or #text + 1
    number = number + 1
    lines[number] = text:sub(start, stop - 1)
    start = stop + 1
  end
  return lines
end

local cutoff, now, bands, keys, lost = ARGV[4], ARGV[5], tonumber(ARGV[9]), (#KEYS - 2) / 2, 0
local words, lines

-- Returns what is wrong with the arguments: half of them must not be written.
local function mismatch()
  if ARGV[3] ~= VERSION then
    return 'version ' .. tostring(ARGV[3]) .. ' instead of ' .. VERSION
  end
  if not bands or #ARGV ~= 11 + bands + keys then
    return #ARGV .. ' arguments for ' .. keys .. ' keys and ' .. tostring(bands) .. ' bands'
  end
  words, lines = words_of(ARGV[10 + bands]), lines_of(ARGV[11 + bands])
  local place, added = 1, 0
  for key = 1, keys do
    local displaced = tonumber(words[place + 5 + bands])
    local arrivals = displaced and tonumber(words[place + 6 + bands + 2 * displaced])
    if not arrivals then
      return 'no numbers of points among the words of key ' .. key
    end
    place = place + 7 + bands + 2 * displaced + arrivals
    added = added + arrivals
  end
  if place ~= #words + 1 then
    return #words .. ' words instead of ' .. place - 1
  end
  if added ~= #lines then
    return #lines .. ' texts for ' .. added .. ' points'
  end
end

local wrong = mismatch()
if wrong then
  return redis.error_reply('WRONGARGUMENTS write_points.lua was given ' .. wrong)
end
local place, line = 1, 0
for key = 3, #KEYS, 2 do
  local points, meta = KEYS[key], KEYS[key + 1]
  local filled, ttl, is_last = words[place] == '1', words[place + 1], words[place + 2] == '1'
  local fields = {
    'package_nm', ARGV[12 + bands + (key - 3) / 2], 'server_type', words[place + 3], 'last_reg_dt', words[place + 4],
    'updated_at', now
  }
  place = place + 4
  for band = 1, bands do
    fields[#fields + 1] = ARGV[9 + band]
    fields[#fields + 1] = words[place + band]
  end
  if not filled then
    expect(points, 'zset')
    redis.call('DEL', points)
  elseif own('ZREMRANGEBYSCORE', points, '-inf', '(' .. cutoff) == 0 and redis.call('EXISTS', points) == 0 then
    lost = lost + 1
  end
  place = place + bands + 1
  local displaced = tonumber(words[place])
  for number = 1, displaced do
    take_out(points, words[place + 2 * number - 1], words[place + 2 * number])
  end
  place = place + 2 * displaced + 1
  local added, arrivals = {}, tonumber(words[place])
  for number = 1, arrivals do
    added[2 * number - 1] = words[place + number]
    added[2 * number] = lines[line + number]
  end
  place, line = place + arrivals + 1, line + arrivals
  if #added > 0 then
    own('ZADD', points, unpack(added))
    own('HSET', meta, 'last_saved_at', now)
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
if ARGV[8] ~= '' then
  own('ZADD', KEYS[2], ARGV[7], ARGV[8])
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
end
return lost
