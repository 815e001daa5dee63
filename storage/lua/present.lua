-- Says, for a while, who of a node's users stand in which rooms, and that the node lives.
-- KEYS  nodes
-- ARGV  prefix, node, node lease_ms, member lease_ms, n present, then (room, user) of those, then of those who left
-- Returns how many other nodes live
local nodes = KEYS[1]
local prefix, node, node_ms, member_ms, present = unpack(ARGV, 1, 5)
local first, width = 6, 2
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now)
redis.call('ZADD', nodes, now + node_ms, node)
for i = first, #ARGV, width do
  local key, member = prefix .. 'at:' .. ARGV[i], node .. ' ' .. ARGV[i + 1]
  if i < first + present * width then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    redis.call('ZADD', key, now + member_ms, member)
    redis.call('PEXPIRE', key, member_ms)
  else
    redis.call('ZREM', key, member)
  end
end
return redis.call('ZCARD', nodes) - 1
