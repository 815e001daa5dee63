-- Keeps what a driver's phone recorded while it was away, once: a batch that came before is not kept again.
-- KEYS  the batch, the driver's record, past
-- ARGV  generation of his lease, digest of the batch, its answer, packed fixes ('' none), most batches waiting, ttl_ms, node
-- Returns {'kept'}, {'again', the first answer}, {'duplicate'} for other content, {'superseded'} or {'full'}
local batch, driver, past = unpack(KEYS)
local generation, content, answer, packed, cap, ttl_ms, node = unpack(ARGV)
local first = redis.call('HMGET', batch, 'content', 'answer')
if first[1] then
  if first[1] ~= content then return { 'duplicate' } end
  return { 'again', first[2] }
end
local body = redis.call('HGET', driver, 'r')
if not body or body:match('"generation":(%d+)') ~= generation then return { 'superseded' } end
-- what was acked is not shed: rather nothing more is taken until the drain comes
if redis.call('XLEN', past) >= tonumber(cap) then return { 'full' } end
if packed ~= '' then redis.call('XADD', past, '*', 'node', node, 'b', packed) end
redis.call('HSET', batch, 'content', content, 'answer', answer)
redis.call('PEXPIRE', batch, ttl_ms)
return { 'kept' }
