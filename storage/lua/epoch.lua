-- Where a room stands. Put before commit.lua and room.lua, so that one place makes epochs.
-- KEYS  none of its own
-- ARGV  none of its own
-- Returns standing(head, log, epoch of the life, now_ms): the room's epoch, seq
local function standing(head, log, life, now_ms)
  local epoch, seq = unpack(redis.call('HMGET', head, 'epoch', 'seq'))
  if epoch and epoch:sub(1, #life + 1) == life .. '.' then return epoch, tonumber(seq) end
  -- new, expired or of an earlier life: its old numbers are forgotten, or may have been given twice
  epoch = life .. '.' .. string.format('%x', now_ms)
  redis.call('HSET', head, 'epoch', epoch, 'seq', 0)
  redis.call('DEL', log)
  return epoch, 0
end
