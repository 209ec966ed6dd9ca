-- Let the sums of an import job wait, unless the attribution is gone or being deleted.
-- ARGV[1]: JSON {prefix, attribution, job}.
local a = cjson.decode(ARGV[1])
local moving = redis.call('HGET', a.prefix .. 'record:' .. a.attribution, 'moving')
if not moving or string.sub(moving, 1, 6) == 'DELETE' then return 0 end
return redis.call('HSETNX', a.prefix .. 'attributing_jobs:' .. a.attribution, a.job, 0)
