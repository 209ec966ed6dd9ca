-- Extend a lease. KEYS: record, lease. ARGV: worker, attempt, milliseconds.
-- Returns the status in progress, or false when the lease belongs to another worker or the record is gone.
local lease = redis.call('HMGET', KEYS[2], 'worker', 'attempt')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return false end
local moving = redis.call('HGET', KEYS[1], 'moving')
if not moving then return false end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'ends', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3])
return moving
