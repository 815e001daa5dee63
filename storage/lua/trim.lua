-- Removes what the drain has committed, unless Redis has begun another life since it was read.
-- KEYS  life, stream
-- ARGV  token, first id to keep
-- Returns how many entries went
local life, stream = KEYS[1], KEYS[2]
local token, keep_from = ARGV[1], ARGV[2]
if redis.call('HGET', life, 'token') ~= token then return 0 end
return redis.call('XTRIM', stream, 'MINID', keep_from)
