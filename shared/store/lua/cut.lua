-- Decide which live events a compaction moves. ARGV: prefix, dataset, writer.
-- Returns {position of the last one, their generation, 1 for those of a compaction that died}, or false where there is none or another writer has begun.
local state = ARGV[1] .. 'live:' .. ARGV[2]
local kept = redis.call('HMGET', state, 'writer', 'generation', 'oldest', 'cut')
if kept[1] ~= ARGV[3] then return false end
local generation, oldest = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
if generation > oldest then return {kept[4], oldest, 1} end
local newest = redis.call('XREVRANGE', ARGV[1] .. 'stream:' .. ARGV[2], '+', '-', 'COUNT', 1)
if not newest[1] then return false end
local following = redis.call('INCR', ARGV[1] .. 'generations')
redis.call('HSET', state, 'generation', following, 'oldest', oldest, 'cut', newest[1][1])
return {newest[1][1], oldest, 0}
