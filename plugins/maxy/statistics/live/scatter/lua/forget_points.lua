-- Forget what is noted of a scatter's points: whoever writes a key next then removes what is in it.
-- Runs behind fenced.lua; safe to repeat.
--
-- KEYS[2]  the state
-- KEYS[3]  the notes of write_points.lua
expect(KEYS[2], 'string')
expect(KEYS[3], 'zset')
redis.call('DEL', KEYS[2], KEYS[3])
