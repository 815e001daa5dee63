-- What one moment shows of the log. A script and no MULTI: a full Redis refuses to queue even a reading.
-- KEYS  life, facts, then other streams to read
-- ARGV  most entries of each, then per stream of KEYS the id to read after
-- Returns {token, how many facts there ever were, what XREAD says or false}
local life, facts = KEYS[1], KEYS[2]
local asked = { 'COUNT', ARGV[1], 'STREAMS' }
for i = 2, #KEYS do asked[#asked + 1] = KEYS[i] end
for i = 2, #ARGV do asked[#asked + 1] = ARGV[i] end
local added = 0
if redis.call('EXISTS', facts) == 1 then
  local info = redis.call('XINFO', 'STREAM', facts)
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then added = info[i + 1] end
  end
end
return { redis.call('HGET', life, 'token'), added, redis.call('XREAD', unpack(asked)) }
