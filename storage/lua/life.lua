-- Names this incarnation of the shard's Redis; a new one when its run id is not the one on record.
-- KEYS  life
-- ARGV  run_id of the server, shard, a fresh random token
-- Returns {token, epoch}
local life = KEYS[1]
local run_id, shard, fresh = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HGET', life, 'run_id') ~= run_id then
  local n = redis.call('HINCRBY', life, 'n', 1)
  -- the random part keeps epochs apart after a wipe, when n starts again
  redis.call('HSET', life, 'run_id', run_id, 'token', fresh, 'epoch', shard .. '.' .. n .. '.' .. fresh:sub(1, 6))
end
return redis.call('HMGET', life, 'token', 'epoch')
