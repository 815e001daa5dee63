-- Where rooms stand, and what was said in each since; a room that is announced so is kept as one that is spoken in.
-- KEYS  life; then per room: head, log, record, jobs, named. Of a job's room: the job's record, and life twice; of a
--       user's: his driver's record, the set of the jobs that he has asked for, and of those that name him as driver
-- ARGV  token, most facts of a room, most bytes of all, ttl_ms of a user's room; then per room: epoch and seq last seen
-- Returns {token, now_ms, then per room {epoch, seq, record or false, said, jobs} or false where there is no such
--       job}; said is {text, moves, …}, or 'lost' when it cannot be told without a hole, or 'later' when the answer
--       is full; jobs are of a user's room only
local life = KEYS[1]
local token, facts_max, bytes_max, user_ttl_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local first_room, per_room, first_seen = 2, 5, 5
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive = redis.call('HMGET', life, 'token', 'epoch')
local reply, bytes_left = { alive[1], now }, bytes_max
if alive[1] ~= token then return reply end

local function since(log, seen, seq)
  if seq - seen > 0 and bytes_left == 0 then return 'later' end
  local said, bytes = {}, 0
  for _, entry in ipairs(redis.call('XRANGE', log, seen + 1 .. '-0', '+')) do
    local text, moves = entry[2][2], entry[2][4]
    said[#said + 1] = text
    said[#said + 1] = moves
    bytes = bytes + #text
  end
  if #said ~= 2 * (seq - seen) or bytes > bytes_max then return 'lost' end
  if bytes > bytes_left then
    bytes_left = 0
    return 'later'
  end
  bytes_left = bytes_left - bytes
  return said
end

for i = first_room, #KEYS, per_room do
  local head, log, record, jobs, named = unpack(KEYS, i, i + per_room - 1)
  local nth = first_seen + (i - first_room) / per_room * 2
  local seen_epoch, seen = ARGV[nth], tonumber(ARGV[nth + 1])
  local is_job = jobs == life
  local read = redis.call('HGET', record, 'r')
  if is_job and not read then
    reply[#reply + 1] = false
  else
    local epoch, seq = standing(head, log, alive[2], now)
    local ttl_ms = is_job and redis.call('PTTL', record) or user_ttl_ms
    for _, key in ipairs({ head, log }) do
      if redis.call('PTTL', key) < ttl_ms then redis.call('PEXPIRE', key, ttl_ms) end
    end
    local can = seen_epoch == epoch and seen <= seq and seq - seen <= facts_max
    local said = can and since(log, seen, seq) or 'lost'
    reply[#reply + 1] = { epoch, seq, read, said, is_job and {} or redis.call('SUNION', jobs, named) }
  end
end
return reply
