-- Names this incarnation of the shard's Redis; a new one when its run id is not the one on record. Everybody comes anew
-- then, so drivers get time to be heard before their silence counts.
-- KEYS  life, due
-- ARGV  run_id of the server, shard, a fresh random token, back_ms
-- Returns {token, epoch}
local life, due = KEYS[1], KEYS[2]
local run_id, shard, fresh, back_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if redis.call('HGET', life, 'run_id') ~= run_id then
  local n = redis.call('HINCRBY', life, 'n', 1)
  -- the random part keeps epochs apart after a wipe, when n starts again
  redis.call('HSET', life, 'run_id', run_id, 'token', fresh, 'epoch', shard .. '.' .. n .. '.' .. fresh:sub(1, 6))
  local time = redis.call('TIME')
  local back = time[1] * 1000 + math.floor(time[2] / 1000) + back_ms
  for _, timer in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', back)) do
    if timer:sub(1, 7) == 'driver:' then redis.call('ZADD', due, back, timer) end
  end
end
return redis.call('HMGET', life, 'token', 'epoch')
