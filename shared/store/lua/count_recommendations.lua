-- Count recommendations for a metric attribution, once an invocation, unless it is gone or being deleted.
-- ARGV[1]: JSON {prefix, attribution, invocation, invocation_seconds, days: [{day, expires (0: never),
-- fields: [[field, number as a string]]}]}.
local a = cjson.decode(ARGV[1])
local p = a.prefix
local seen = p .. 'invocation:' .. a.invocation
if redis.call('EXISTS', seen) == 1 then return 0 end
local moving = redis.call('HGET', p .. 'record:' .. a.attribution, 'moving')
if not moving or string.sub(moving, 1, 6) == 'DELETE' then return 0 end
for _, day in ipairs(a.days) do
  local key = p .. 'recommended:' .. a.attribution .. ':' .. day.day
  for _, field in ipairs(day.fields) do redis.call('HINCRBY', key, field[1], field[2]) end
  if day.expires > 0 then redis.call('EXPIREAT', key, string.format('%.0f', day.expires)) end
end
redis.call('SET', seen, a.attribution, 'EX', a.invocation_seconds)
return 1
