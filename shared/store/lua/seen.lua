-- Read the items of a user's live events. ARGV: the prefix of the keys, user, length of the user in bytes.
-- Returns {type, {item, time, item, time ...}} of each event type.
local found = {}
for _, kind in ipairs(redis.call('SMEMBERS', ARGV[1] .. ':' .. ARGV[2])) do
  local items = ARGV[1] .. ':' .. ARGV[3] .. ':' .. ARGV[2] .. ':' .. kind
  found[#found + 1] = {kind, redis.call('ZRANGE', items, 0, -1, 'WITHSCORES')}
end
return found
