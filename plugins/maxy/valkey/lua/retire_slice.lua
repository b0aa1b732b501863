-- Let some keys of a former generation expire, when readers in the middle have finished.   Safe to retry: an expiry is
-- never put off.
--
-- KEYS[5]  the index of the generation, or the group's own for its plain keys
-- KEYS[6]  the index of what readers are led to now
-- ARGV[1]  the generation; empty for the plain keys
-- ARGV[2]  how many keys have had their turn, and ARGV[3] how many come now
-- ARGV[4]  milliseconds after which the first of them expires, and ARGV[5] by how much later each next one
-- Returns how many keys there were, and how many of them the group no longer has; {-1, 0} if it is not to be retired (any more).
local generation, offset = ARGV[1], tonumber(ARGV[2])
local suffix = generation == '' and '' or '@' .. generation
-- One that was being written is given up: its writer finds the note gone.
if redis.call('HDEL', record, 'writing:' .. generation) == 1 then
  redis.call('HSET', record, 'retiring:' .. generation, '')
end
if redis.call('HEXISTS', record, 'retiring:' .. generation) == 0
  or (redis.call('HGET', record, 'generation') or '') == generation then
  return {-1, 0}
end
local members = redis.call('ZRANGE', KEYS[5], offset, offset + tonumber(ARGV[3]) - 1)
local gone = 0
for position, member in ipairs(members) do
  local delay = math.floor(tonumber(ARGV[4]) + (offset + position) * tonumber(ARGV[5]))
  redis.call('PEXPIRE', member .. suffix, delay, 'LT')
  if not redis.call('ZSCORE', KEYS[6], member) then
    gone = gone + 1
  end
end
if #members == 0 then
  local delay = math.floor(tonumber(ARGV[4]) + offset * tonumber(ARGV[5]))
  redis.call('PEXPIRE', KEYS[5], delay, 'LT')
  redis.call('HDEL', record, 'retiring:' .. generation)
end
return {#members, gone}
