-- Commits one decision whole, or nothing: the only writer of records, timers and facts.
-- KEYS  life, due, wait, facts, spot, head of the command's room; then in the order of ARGV: a key per
--       expected version, a key per record put, a key per index change, head and log per fact
-- ARGV  token, loaded_ms, latest_ms ('0' none), answer field ('' none), answer body, its ring in the room's head
--       (of 'recent' the oldest goes; any other is full one day), the ring's size, causer, prefix, room cap,
--       n versions…, n (version, body, ttl_ms)…, n (command, argc, args…)…, n (driver, entry) leaving the index…,
--       n (room, event, text, records, moves, ttl_ms)…
-- Returns {'ok', now_ms} or {'life'}, {'again', answer}, {'late'}, {'full'}, {'stale'}, {'conflict', key}
local life, due, facts, spot, home = KEYS[1], KEYS[2], KEYS[4], KEYS[5], KEYS[6]
local at, key = 0, 6
local function arg() at = at + 1; return ARGV[at] end
local function nextkey() key = key + 1; return KEYS[key] end
local token, loaded_ms, latest_ms, field, answer = arg(), tonumber(arg()), tonumber(arg()), arg(), arg()
local ring, ring_max, causer, prefix, cap = arg(), tonumber(arg()), arg(), arg(), arg()
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local alive = redis.call('HMGET', life, 'token', 'epoch')
if alive[1] ~= token then return { 'life' } end
if field ~= '' then
  local first = redis.call('HGET', home, field)
  if first then return { 'again', first } end
  if ring ~= 'recent' and tonumber(redis.call('HGET', home, ring) or 0) >= ring_max then return { 'full' } end
end
-- deadlines were computed from loaded_ms: an old reading would move them
if now - loaded_ms > 2000 then return { 'stale' } end
if latest_ms > 0 and now > latest_ms then return { 'late' } end
for _ = 1, arg() do
  local record, version = nextkey(), arg()
  if (redis.call('HGET', record, 'v') or '0') ~= version then return { 'conflict', record } end
end
for _ = 1, arg() do
  local record = nextkey()
  redis.call('HSET', record, 'v', arg(), 'r', arg()); lives(record, arg())
end
for _ = 1, arg() do
  local command, argc = arg(), tonumber(arg())
  redis.call(command, nextkey(), unpack(ARGV, at + 1, at + argc))
  at = at + argc
end
for _ = 1, arg() do
  local driver, entry = arg(), arg()
  local held = redis.call('HGET', spot, driver)
  if held then
    local _, cell, classes = held:match('^(%S+) (%S+) (%S+)$')
    local last = redis.call('HGET', prefix .. 'idx:' .. classes:match('^[^,]+') .. ':' .. cell, entry)
    -- where he will be is not where he is
    if last and classes:sub(-1) ~= '~' then redis.call('SET', prefix .. 'pos:' .. driver, last, 'PX', 3600000) end
    for class in classes:gmatch('[^,]+') do redis.call('HDEL', prefix .. 'idx:' .. class .. ':' .. cell, entry) end
    redis.call('HDEL', spot, driver)
  end
end
for _ = 1, arg() do
  local head, log, room, event, text, records, moves, ttl = nextkey(), nextkey(), arg(), arg(), arg(), arg(), arg(), arg()
  local seq, epoch = 0, alive[2]
  if event ~= '' then
    epoch = standing(head, log, epoch, now)
    seq = redis.call('HINCRBY', head, 'seq', 1)
    text = text .. ',"room":"' .. room .. '","epoch":"' .. epoch .. '","seq":' .. seq .. '}]'
    redis.call('XADD', log, 'MAXLEN', '~', cap, seq .. '-0', 'p', text, 'm', moves)
    lives(head, ttl); lives(log, ttl)
  end
  redis.call('XADD', facts, '*', 'r', room, 'n', epoch, 's', seq, 'e', event, 'p', text, 'd', records, 'm', moves, 't', now, 'a', causer)
end
if field ~= '' then
  local slot = ring .. redis.call('HINCRBY', home, ring, 1) % ring_max
  if ring == 'recent' then redis.call('HDEL', home, redis.call('HGET', home, slot) or '') end
  redis.call('HSET', home, field, answer, unpack(ring == 'recent' and { slot, field } or {}))
  if redis.call('PTTL', home) < 0 then redis.call('PEXPIRE', home, 604800000) end
end
return { 'ok', now }
