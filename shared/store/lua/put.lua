-- Save put records; each replaces the earlier one of its id. ARGV[1]: JSON {prefix, dataset, invocation,
-- invocation_seconds, records: [{id, text}]}. Of several with one id the last one stays.
local a = cjson.decode(ARGV[1])
local p = a.prefix
local seen = p .. 'invocation:' .. a.invocation
if redis.call('EXISTS', seen) == 1 then return 0 end
if a.for_clients then
  local full = redis.call('MGET', p .. 'full:disk', p .. 'full:memory')
  if full[1] or full[2] then return {'no space', full[1] or full[2]} end
end
for _, record in ipairs(a.records) do
  redis.call('HSET', p .. 'put:' .. a.dataset, record.id, record.text)
end
local time = redis.call('TIME')
redis.call('SET', p .. 'put_at:' .. a.dataset, time[1] .. '.' .. string.format('%06d', time[2]))
redis.call('SET', seen, a.dataset, 'EX', a.invocation_seconds)
return 1
