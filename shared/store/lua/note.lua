-- Add a message to the outbox, under the time of Redis' clock. KEYS: notes, outbox. ARGV: id, text.
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], time[1] .. '.' .. string.format('%06d', time[2]), ARGV[1])
return 1
