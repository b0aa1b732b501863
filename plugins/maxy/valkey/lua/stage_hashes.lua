-- Write a batch of hashes under staging names, where no reader looks.
-- Safe to retry: a staged hash is replaced as a whole, and expires by itself if it is never published.
--
-- KEYS[1]  prefix of the staging names; hash n is staged as <prefix><n>
-- ARGV[1]  number of the batch's first hash
-- ARGV[2]  seconds after which a staged hash expires
-- ARGV[3]  the text that stands for no value
-- ARGV[4]  number of fields, followed by the fields' names, followed by the values, hash by hash
local absent, fields = ARGV[3], tonumber(ARGV[4])
local number = tonumber(ARGV[1])
for values = 5 + fields, #ARGV, fields do
  redis.call('UNLINK', KEYS[1] .. number)
  write_hash(KEYS[1] .. number, fields, 5, values, absent, ARGV[2])
  number = number + 1
end
return number
