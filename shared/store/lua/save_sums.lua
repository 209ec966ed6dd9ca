-- Save the sums of a metric attribution and remove what they were made of from its queue, in one step.
-- ARGV[1]: JSON {prefix, attribution, version (as a string), entries: [id], jobs: [[job, next day or ""]],
-- days: [{day, expires (0: never), fields: [[field, text]]}]}. Returns 1; or 0 and changes nothing where the version has
-- changed, or the attribution is gone or being deleted.
local a = cjson.decode(ARGV[1])
local p = a.prefix
local moving = redis.call('HGET', p .. 'record:' .. a.attribution, 'moving')
if not moving or string.sub(moving, 1, 6) == 'DELETE' then return 0 end
local version = p .. 'attributed_version:' .. a.attribution
if (redis.call('GET', version) or '0') ~= a.version then return 0 end
redis.call('INCR', version)
for _, id in ipairs(a.entries) do redis.call('XDEL', p .. 'attributing:' .. a.attribution, id) end
local jobs = p .. 'attributing_jobs:' .. a.attribution
for _, job in ipairs(a.jobs) do
  if job[2] == '' then redis.call('HDEL', jobs, job[1]) else redis.call('HSET', jobs, job[1], job[2]) end
end
for _, day in ipairs(a.days) do
  local key = p .. 'attributed:' .. a.attribution .. ':' .. day.day
  for _, field in ipairs(day.fields) do redis.call('HSET', key, field[1], field[2]) end
  if day.expires > 0 then redis.call('EXPIREAT', key, string.format('%.0f', day.expires)) end
end
return 1
