-- Replace neighbours in a dataset's list of live files. ARGV[1]: JSON {prefix, dataset, writer, old: [name], and where a
-- file takes their place: new (its name), entry}. Returns 1, or 0 where another writer has begun or they are not there.
local a = cjson.decode(ARGV[1])
local files = a.prefix .. 'live_files:' .. a.dataset
if redis.call('HGET', a.prefix .. 'live:' .. a.dataset, 'writer') ~= a.writer then return 0 end
local standing, names, begin = redis.call('LRANGE', files, 0, -1), {}, nil
for place, entry in ipairs(standing) do
  names[place] = cjson.decode(entry).name
  -- A repeated call finds its work done.
  if a.new and names[place] == a.new then return 1 end
  if names[place] == a.old[1] then begin = place end
end
if not begin then return a.new and 0 or 1 end
for place, name in ipairs(a.old) do
  if names[begin + place - 1] ~= name then return 0 end
end
local time = redis.call('TIME')
redis.call('DEL', files)
for place, entry in ipairs(standing) do
  if place == begin and a.new then redis.call('RPUSH', files, a.entry) end
  if place < begin or place >= begin + #a.old then redis.call('RPUSH', files, entry) end
end
for _, name in ipairs(a.old) do redis.call('ZADD', a.prefix .. 'live_old:' .. a.dataset, time[1], name) end
return 1
