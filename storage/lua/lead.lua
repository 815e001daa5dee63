-- Takes the lead, keeps it or gives it up; a leader who was not heard of for the time of his lease has lost it.
-- KEYS  leader
-- ARGV  token of who asks, how long he leads from now, ms (0: he gives it up)
-- Returns 1 where he leads now, 0 where another does or nobody
local leader = KEYS[1]
local token, lease_ms = ARGV[1], tonumber(ARGV[2])
local held = redis.call('GET', leader)
if held and held ~= token then return 0 end
if lease_ms == 0 then redis.call('DEL', leader); return 0 end
redis.call('SET', leader, token, 'PX', lease_ms)
return 1
