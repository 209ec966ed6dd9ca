-- Read the items of a user's live events that are in no file. ARGV: prefix, dataset, user, length of the user in bytes.
-- Returns {generation of the newest file or -1, {generation, {{type, {item, time, item, time ...}}, ...}}, ...}, the
-- older generation first.
local kept = redis.call('HMGET', ARGV[1] .. 'live:' .. ARGV[2], 'moved', 'oldest', 'generation')
local found, newest = {tonumber(kept[1] or -1)}, tonumber(kept[3] or 0)
for _, generation in ipairs({tonumber(kept[2] or 0), newest}) do
  if #found == 1 or generation ~= found[2][1] then
    local owner = (generation > 0 and string.format('%010d:', generation) or '') .. ARGV[2] .. ':'
    local types = {}
    for _, kind in ipairs(redis.call('SMEMBERS', ARGV[1] .. 'seen:' .. owner .. ARGV[3])) do
      local items = ARGV[1] .. 'seen:' .. owner .. ARGV[4] .. ':' .. ARGV[3] .. ':' .. kind
      types[#types + 1] = {kind, redis.call('ZRANGE', items, 0, -1, 'WITHSCORES')}
    end
    found[#found + 1] = {generation, types}
  end
end
return found
