-- Remove put records. KEYS: the hash of records, the time of the newest. ARGV: ids ...
local removed = 0
for _, id in ipairs(ARGV) do removed = removed + redis.call('HDEL', KEYS[1], id) end
if removed > 0 then
  local time = redis.call('TIME')
  redis.call('SET', KEYS[2], time[1] .. '.' .. string.format('%06d', time[2]))
end
return removed
