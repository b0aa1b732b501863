-- Note up to when a scatter has read its source, after all points are written; forget notes on points that are too old.
-- Runs behind fenced.lua; safe to repeat.
--
-- KEYS[2]  the state
-- KEYS[3]  the notes of write_points.lua
-- ARGV[3]  the state
-- ARGV[4]  milliseconds until state and notes expire
-- ARGV[5]  notes of points that all arrived before this instant are forgotten
set(KEYS[2], ARGV[3], 'PX', ARGV[4])
own('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. ARGV[5])
own('PEXPIRE', KEYS[3], ARGV[4])
