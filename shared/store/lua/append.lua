-- Save live events, each once. ARGV[1]: JSON {prefix, dataset, invocation, invocation_seconds, id_seconds, recent,
-- seen, seen_seconds, events: [{user, id (only a client's own), text, and where it names an item: item, type, at; where
-- a metric reads it: attributed}], and attribution where one is}.
-- Returns how many were new.
local a = cjson.decode(ARGV[1])
local p = a.prefix
local seen = p .. 'invocation:' .. a.invocation
if redis.call('EXISTS', seen) == 1 then return 0 end
if a.for_clients then
  local full = redis.call('MGET', p .. 'full:disk', p .. 'full:memory')
  if full[1] or full[2] then return {'no space', full[1] or full[2]} end
end
local state, stream = p .. 'live:' .. a.dataset, p .. 'stream:' .. a.dataset
local generation = redis.call('HGET', state, 'generation')
-- Events that a release without generations has saved are of generation 0, whose keys do not name it.
if not generation and redis.call('EXISTS', stream) == 0 then
  generation = redis.call('INCR', p .. 'generations')
  redis.call('HSET', state, 'generation', generation, 'oldest', generation)
end
generation = tonumber(generation or 0)
local owner = (generation > 0 and string.format('%010d:', generation) or '') .. a.dataset .. ':'
local attribution = a.attribution
if attribution then
  local moving = redis.call('HGET', p .. 'record:' .. attribution, 'moving')
  if not moving or string.sub(moving, 1, 6) == 'DELETE' then attribution = nil end
end
local new = 0
for _, event in ipairs(a.events) do
  local known = false
  if event.id then
    known = not redis.call('SET', p .. 'event:' .. a.dataset .. ':' .. event.id, 1, 'NX', 'EX', a.id_seconds)
  end
  if not known then
    new = new + 1
    redis.call('XADD', stream, '*', 'event', event.text)
    if attribution and event.attributed then
      redis.call('XADD', p .. 'attributing:' .. attribution, '*', 'event', event.attributed)
    end
    local recent = p .. 'recent:' .. owner .. event.user
    redis.call('RPUSH', recent, event.text)
    redis.call('LTRIM', recent, -a.recent, -1)
    if event.item then
      -- The length distinguishes user "a" with type "b:c" from user "a:b" with type "c".
      local types = p .. 'seen:' .. owner .. event.user
      local items = p .. 'seen:' .. owner .. #event.user .. ':' .. event.user .. ':' .. event.type
      redis.call('SADD', types, event.type)
      redis.call('ZADD', items, 'GT', event.at, event.item)
      redis.call('ZREMRANGEBYRANK', items, 0, -a.seen - 1)
      redis.call('EXPIRE', types, a.seen_seconds)
      redis.call('EXPIRE', items, a.seen_seconds)
    end
  end
end
redis.call('SET', seen, a.dataset, 'EX', a.invocation_seconds)
return new
