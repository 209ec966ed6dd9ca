-- Move the live events of a cut to a file. ARGV: prefix, dataset, writer, the cut's generation, its last position, the
-- position after it, the file's entry. Returns 1, or 0 where another writer has begun or the dataset was cleared.
local p, dataset = ARGV[1], ARGV[2]
local state, files = p .. 'live:' .. dataset, p .. 'live_files:' .. dataset
local kept = redis.call('HMGET', state, 'writer', 'generation', 'oldest', 'cut')
if kept[1] ~= ARGV[3] then return 0 end
if redis.call('LINDEX', files, -1) == ARGV[7] then return 1 end
local generation, oldest = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
if oldest ~= tonumber(ARGV[4]) or generation <= oldest or kept[4] ~= ARGV[5] then return 0 end
redis.call('RPUSH', files, ARGV[7])
redis.call('XTRIM', p .. 'stream:' .. dataset, 'MINID', '=', ARGV[6])
redis.call('HSET', state, 'oldest', generation, 'moved', oldest)
redis.call('SADD', p .. 'live_unswept:' .. dataset, oldest)
return 1
