-- Take a loop's lease unless another copy holds it. The copy that holds it already gets a new fence number: what it sent
-- under the old one and what has not arrived yet is refused from now on.
-- The fence number grows with every tenure, also when the database was emptied in between, since it is never below the
-- server's clock in microseconds.
--
-- What no copy can have written is nobody's lease, and is replaced: one of another type or another form. One that would
-- last for ever, or longer than any, is given an end, which its holder, if there is one, prolongs.
--
-- KEYS[1]  the lease
-- KEYS[2]  the last fence number
-- ARGV[1]  token of this copy
-- ARGV[2]  milliseconds until the lease expires
-- ARGV[3]  the most milliseconds that any copy's lease lasts
-- Returns what the lease holds now ("<fence>:<token>"), or false if another copy holds it.

-- Shifted by 12 bits, fence numbers must fit into 64 (2^52 is 4.5e15), with room to grow; as microseconds, the year 2109.
local largest = 4.4e15

local function fence_of(text)
  local number = #text <= 16 and string.match(text, '^%d+$') and tonumber(text)
  return number and number <= largest and number or nil
end

-- The text of a key; nil if there is none, or another type, which is replaced.
local function read(key)
  expect(key, 'string')
  return redis.call('GET', key) or nil
end

local held = read(KEYS[1])
local number, token
if held then
  number, token = string.match(held, '^(%d+):(.+)$')
  number = number and fence_of(number)
  if not number then
    replace(KEYS[1], 'a text that is no lease')
  elseif token ~= ARGV[1] then
    local left = redis.call('PTTL', KEYS[1])
    if left < 0 or left > tonumber(ARGV[3]) then
      redis.call('PEXPIRE', KEYS[1], ARGV[2])
    end
    return false
  end
end
local last = read(KEYS[2])
if last and not fence_of(last) then
  replace(KEYS[2], 'a text that is no fence number')
  last = nil
end
local time = redis.call('TIME')
local fence = math.max(
  tonumber(time[1]) * 1000000 + tonumber(time[2]), (last and fence_of(last) or 0) + 1, (number or 0) + 1
)
local holder = string.format('%.0f', fence) .. ':' .. ARGV[1]
redis.call('SET', KEYS[2], string.format('%.0f', fence))
redis.call('SET', KEYS[1], holder, 'PX', ARGV[2])
return holder
