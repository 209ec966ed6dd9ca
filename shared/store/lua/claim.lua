-- Claim the work on a record. KEYS: record, lease. ARGV: worker, milliseconds, statuses in which it may be claimed.
-- Returns the attempt, or false. An expired lease counts as a failure of its attempt.
local moving = redis.call('HGET', KEYS[1], 'moving')
local wanted = false
for i = 3, #ARGV do wanted = wanted or moving == ARGV[i] end
if not wanted then return false end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = redis.call('HGET', KEYS[2], 'ends')
if ends and tonumber(ends) > now then return false end
if ends then redis.call('HINCRBY', KEYS[1], 'failures', 1) end
local attempt = redis.call('HINCRBY', KEYS[1], 'attempt', 1)
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[2], 'worker', ARGV[1], 'attempt', attempt, 'ends', now + ARGV[2])
return attempt
