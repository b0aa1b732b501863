-- Reserve the number of a generation, and note that it is being written.   Safe to retry: a number may be left unused.
--
-- ARGV[1]  the number of a group's first generation
-- ARGV[2]  what is noted: the version's unit, the version and the token
-- ARGV[3]  seconds after which the record expires
-- ARGV[4]  the template of the keys, for the registry
-- ARGV[5]  fields of the record, as JSON
-- Returns the number.
keep_record(ARGV[5], ARGV[3], ARGV[4])
redis.call('HSETNX', record, 'generations', ARGV[1])
local generation = redis.call('HINCRBY', record, 'generations', 1)
redis.call('HSET', record, 'writing:' .. generation, ARGV[2])
return generation
