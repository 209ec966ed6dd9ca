-- Create, replace or remove one record with its indexes, claims and outbox entries, or change nothing.
-- ARGV[1]: the JSON that _write_record in redis.py builds. Versions are strings; `expect` is "" for a new record.
-- Returns {verdict, ARN}: "written", "repeated", "taken", "full", "conflict" or "no space".
local a = cjson.decode(ARGV[1])
local p = a.prefix
local record = p .. 'record:' .. a.arn

if a.invocation then
  local earlier = redis.call('GET', p .. 'invocation:' .. a.invocation)
  if earlier then return {'repeated', earlier} end
end
if a.for_clients and not a.frees then
  local full = redis.call('MGET', p .. 'full:disk', p .. 'full:memory')
  if full[1] or full[2] then return {'no space', full[1] or full[2]} end
end
for arn, version in pairs(a.guards) do
  if redis.call('HGET', p .. 'record:' .. arn, 'version') ~= version then return {'conflict', arn} end
end
local standing = redis.call('HGET', record, 'version')
if a.expect == '' then
  if standing then return {'taken', a.arn} end
elseif standing ~= a.expect then
  return {'conflict', a.arn}
end
for _, claim in ipairs(a.claim) do
  local holder = redis.call('GET', p .. 'claim:' .. claim)
  if holder and holder ~= a.arn then return {'taken', holder} end
end
if a.limit then
  local index = p .. 'index:' .. a.limit.index
  -- Few records have work in progress, however large the index: the intersection walks the smaller set.
  local standing = a.limit.moving and redis.call('ZINTERCARD', 2, index, p .. 'moving') or redis.call('ZCARD', index)
  if standing >= a.limit.most then return {'full', a.arn} end
end

local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
for arn, _ in pairs(a.guards) do redis.call('HINCRBY', p .. 'record:' .. arn, 'version', 1) end
for _, claim in ipairs(a.unclaim) do redis.call('DEL', p .. 'claim:' .. claim) end
for _, index in ipairs(a.unlist) do redis.call('ZREM', p .. 'index:' .. index, a.arn) end

if a.remove then
  redis.call('DEL', record, p .. 'lease:' .. a.arn)
  redis.call('ZREM', p .. 'moving', a.arn)
else
  for _, claim in ipairs(a.claim) do redis.call('SET', p .. 'claim:' .. claim, a.arn) end
  for _, index in ipairs(a.list) do redis.call('ZADD', p .. 'index:' .. index, a.created, a.arn) end
  redis.call('HSET', record, 'document', a.document, 'moving', a.moving, 'attempt', a.attempt, 'failures', a.failures)
  redis.call('HINCRBY', record, 'version', 1)
  if a.moving == '' then
    redis.call('ZREM', p .. 'moving', a.arn)
    -- The next work on this record must not find the lease of the work that has ended.
    redis.call('DEL', p .. 'lease:' .. a.arn)
  else
    redis.call('ZADD', p .. 'moving', 'NX', now, a.arn)
  end
end
for _, note in ipairs(a.notes) do
  redis.call('HSET', p .. 'notes', note.id, note.text)
  redis.call('ZADD', p .. 'outbox', now, note.id)
end
if a.done then
  redis.call('HDEL', p .. 'notes', a.done)
  redis.call('ZREM', p .. 'outbox', a.done)
end
if a.invocation then
  redis.call('SET', p .. 'invocation:' .. a.invocation, a.arn, 'EX', a.invocation_seconds)
end
return {'written', a.arn}
