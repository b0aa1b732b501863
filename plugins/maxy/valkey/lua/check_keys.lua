-- Tell what is in the place of keys that are to be written.   Safe to retry: reads only.
--
-- ARGV[1]  1 if the index is the group's; of another one nothing is taken for the group's own
-- ARGV[2]  the keys, some hundred of them
-- Returns a character per key: 'n' nothing; 'o' a hash of the group's own; 't' another type in the place of one; 'h' a
-- hash that is not in the group's index; 'x' another type that is not.
local places = {}
for argument = 2, #ARGV do
  local kind = type_of(ARGV[argument])
  local place = 'n'
  if kind ~= 'none' then
    local is_own = ARGV[1] == '1' and redis.call('ZSCORE', index, ARGV[argument])
    if kind == 'hash' then
      place = is_own and 'o' or 'h'
    else
      place = is_own and 't' or 'x'
    end
  end
  places[#places + 1] = place
end
return table.concat(places)
