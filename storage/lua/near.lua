-- Reads the live entries of many cells in one call; empty cells, which are most of them, cost next to nothing.
-- KEYS  spot (names the shard's slot)
-- ARGV  index prefix "{shard}:idx:class:", then cells
-- Returns a flat list of entry, packed position, entry, …
local prefix = ARGV[1]
local first_cell = 2
local found = {}
for i = first_cell, #ARGV do
  local entries = redis.call('HGETALL', prefix .. ARGV[i])
  for j = 1, #entries do found[#found + 1] = entries[j] end
end
return found
