-- Tell what is known of a group.   Safe to retry: reads only.
-- Returns the state; the types of the record, the registry and the index; the record's fields and values, if it is ours;
-- and of an index that is a sorted set its size, lowest and highest score and time to live.
local fields = is_recorded() and redis.call('HGETALL', record) or {}
local answer = {state(), type_of(record), type_of(registry), type_of(index), fields}
if type_of(index) == 'zset' then
  answer[6] = redis.call('ZCARD', index)
  answer[7] = redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2]
  answer[8] = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
  answer[9] = redis.call('TTL', index)
end
return answer
