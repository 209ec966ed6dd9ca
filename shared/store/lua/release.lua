-- End a lease. KEYS: record, lease. ARGV: worker, attempt, '1' when the attempt ended without a report.
-- Returns 1, or false when the lease belongs to another worker or attempt.
local lease = redis.call('HMGET', KEYS[2], 'worker', 'attempt')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] then return false end
redis.call('DEL', KEYS[2])
if ARGV[3] == '1' and redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], 'failures', 1)
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
return 1
