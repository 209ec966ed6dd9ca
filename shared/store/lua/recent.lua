-- Read the recent events of a user that are in no file. ARGV: prefix, dataset, user.
-- Returns {generation of the newest file or -1, {generation, {event, ...}}, ...}, the older generation first.
local kept = redis.call('HMGET', ARGV[1] .. 'live:' .. ARGV[2], 'moved', 'oldest', 'generation')
local found, newest = {tonumber(kept[1] or -1)}, tonumber(kept[3] or 0)
for _, generation in ipairs({tonumber(kept[2] or 0), newest}) do
  if #found == 1 or generation ~= found[2][1] then
    local owner = (generation > 0 and string.format('%010d:', generation) or '') .. ARGV[2] .. ':'
    found[#found + 1] = {generation, redis.call('LRANGE', ARGV[1] .. 'recent:' .. owner .. ARGV[3], 0, -1)}
  end
end
return found
