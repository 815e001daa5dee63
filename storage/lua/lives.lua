-- How long a key lives. Put before commit.lua.
-- KEYS  none of its own
-- ARGV  none of its own
-- Returns lives(key, ttl_ms): from now on so long, or up to a 64th shorter, as it did; asking first spares the AOF and
--       the replicas what changes nothing
local function lives(key, ttl_ms)
  local left_ms = redis.call('PTTL', key)
  if left_ms > tonumber(ttl_ms) or left_ms < ttl_ms * 63 / 64 then redis.call('PEXPIRE', key, ttl_ms) end
end
