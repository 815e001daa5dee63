-- Reads what a rule needs, at one moment of the shard's clock. Decides nothing.
-- KEYS  life, head of the command's room, due, then one key per record
-- ARGV  answer field ('' = none), then one due member per record ('' = none)
-- Returns {token, now_ms, answer or false, {version or false, body or false, due_ms or false} per record}
local life, head, due = KEYS[1], KEYS[2], KEYS[3]
local first_record = 4
local field = ARGV[1]
local time = redis.call('TIME')
local answer = field ~= '' and redis.call('HGET', head, field) or false
local reply = { redis.call('HGET', life, 'token'), time[1] * 1000 + math.floor(time[2] / 1000), answer }
for i = first_record, #KEYS do
  local read = redis.call('HMGET', KEYS[i], 'v', 'r')
  local member = ARGV[i - first_record + 2]
  read[3] = member ~= '' and redis.call('ZSCORE', due, member) or false
  reply[#reply + 1] = read
end
return reply
