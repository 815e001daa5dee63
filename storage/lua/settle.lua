-- Writes something, behind everything that was written before: once replicas have this, they have that.
-- KEYS  settle
-- ARGV  none
-- Returns 'OK'
return redis.call('SET', KEYS[1], '', 'PX', 60000)
