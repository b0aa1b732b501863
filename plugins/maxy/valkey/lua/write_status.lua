-- Keep a loop's status, for people and for the watching loop. Runs behind fenced.lua; safe to repeat.
--
-- KEYS[2]  the status hash
-- ARGV[3]  milliseconds until it expires
-- ARGV[4]  fields and values, one after the other
for position = 4, #ARGV, 2 do
  own('HSET', KEYS[2], ARGV[position], ARGV[position + 1])
end
own('PEXPIRE', KEYS[2], ARGV[3])
