-- Applies one node's tick, once: index moves, last positions, signs of life, the fixes stream, mail to other nodes.
-- KEYS  the node's last tick, spot, due, fixes, fixed, nodes
-- ARGV  prefix, node, boot, tick, packed fixes ('' none), how many, stream cap, index ttl_ms, mail cap, mail ttl_ms,
--       drivers, packed: [id, flag, generation, version, cell, classes, stale_ms (0 no sign), carries, position, entry, soon]
--       of each; soon, where not '', is shown in the index instead of position;
--       flags: e enters (only while his record has this version), m is here, l leaves;
--       events for members elsewhere, packed: [room, driver ('' none), version his record must have, packed event] of each
-- Returns {now_ms, how many other nodes there are}
local last, spot, due, fixes, fixed, nodes = unpack(KEYS)
local prefix, node, boot, tick, packed, count, cap, ttl_ms, mail_cap, mail_ttl_ms, drivers, events = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last_boot, last_tick = (redis.call('GET', last) or ''):match('^(%S+) (%S+)$')
local others = redis.call('ZCARD', nodes) - (redis.call('ZSCORE', nodes, node) and 1 or 0)
if last_boot == boot and tonumber(last_tick) >= tonumber(tick) then return { now, others } end

-- Undrained fixes give way above 80 % of the memory: the rest is for facts and live records. It is the first write:
-- once a script has written, Redis lets it go on although memory is full, which it would refuse otherwise.
local used, most = redis.call('INFO', 'memory'):match('used_memory:(%d+).-\nmaxmemory:(%d+)')
if tonumber(most) > 0 and used / most > 0.8 then redis.call('XTRIM', fixes, 'MAXLEN', math.floor(redis.call('XLEN', fixes) * 7 / 8)) end
redis.call('SET', last, boot .. ' ' .. tick, 'PX', 3600000)

local function index(class, cell) return prefix .. 'idx:' .. class .. ':' .. cell end
local function leased(driver, generation)
  local body = redis.call('HGET', prefix .. 'driver:' .. driver, 'r')
  return body and body:match('"generation":(%d+)') == generation
end
local function leave(entry, cell, classes)
  for class in classes:gmatch('[^,]+') do redis.call('HDEL', index(class, cell), entry) end
end

for _, update in ipairs(cmsgpack.unpack(drivers)) do
  local driver, flag, generation, version, cell, classes, stale_ms, carries, position, entry, soon = unpack(update)
  local held = redis.call('HGET', spot, driver)
  local by, old_cell, old_classes
  if held then by, old_cell, old_classes = held:match('^(%S+) (%S+) (%S+)$') end
  local here = flag == 'm' and by == generation
  if flag == 'e' then here = redis.call('HGET', prefix .. 'driver:' .. driver, 'v') == version end
  if flag == 'l' and by == generation then
    leave(entry, old_cell, old_classes)
    redis.call('HDEL', spot, driver)
  elseif here then
    if held and (old_cell ~= cell or old_classes ~= classes) then leave(entry, old_cell, old_classes) end
    if flag == 'e' or old_cell ~= cell or old_classes ~= classes then redis.call('HSET', spot, driver, generation .. ' ' .. cell .. ' ' .. classes) end
    for class in classes:gmatch('[^,]+') do
      redis.call('HSET', index(class, cell), entry, soon ~= '' and soon or position)
      redis.call('PEXPIRE', index(class, cell), ttl_ms)
    end
  end
  -- what an older device says late shows nobody where it was, nor renews a sign of life
  local his = (carries or stale_ms > 0) and leased(driver, generation)
  if his and carries then redis.call('SET', prefix .. 'pos:' .. driver, position, 'PX', 3600000) end
  -- XX: only a driver who is online has this timer; a late fix must not bring it back
  if his and stale_ms > 0 then redis.call('ZADD', due, 'XX', now + stale_ms, 'driver:' .. driver) end
end
-- numbered, so that the drain can tell how many were thinned away before it came
local number = packed ~= '' and redis.call('INCRBY', fixed, count)
if number then redis.call('XADD', fixes, 'MAXLEN', '~', cap, '*', 'node', node, 'boot', boot, 'tick', tick, 'count', count, 'number', number, 'b', packed) end
local boxes = {}
for _, said in ipairs(cmsgpack.unpack(events)) do
  local room, driver, version, event = unpack(said)
  -- of a driver whose record has changed nobody knows here whom he drives
  if driver == '' or redis.call('HGET', prefix .. 'driver:' .. driver, 'v') == version then
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'at:' .. room, now, '+inf')) do
      local there = member:match('^%S+')
      local box = boxes[there] or {}
      if there ~= node and box[#box] ~= event then box[#box + 1] = event; boxes[there] = box end
    end
  end
end
for there, box in pairs(boxes) do
  local mail = prefix .. 'mail:' .. there
  redis.call('XADD', mail, 'MAXLEN', '~', mail_cap, '*', 'b', struct.pack('>BI4', 0xdd, #box) .. table.concat(box)); redis.call('PEXPIRE', mail, mail_ttl_ms)
end
return { now, others }
