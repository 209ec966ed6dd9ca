-- Remove the newest live events of users, and the items seen in them. ARGV: the prefix of all keys, dataset, users ...
local recent, seen = ARGV[1] .. 'recent:' .. ARGV[2] .. ':', ARGV[1] .. 'seen:' .. ARGV[2] .. ':'
for number = 3, #ARGV do
  local user = ARGV[number]
  for _, kind in ipairs(redis.call('SMEMBERS', seen .. user)) do
    redis.call('DEL', seen .. #user .. ':' .. user .. ':' .. kind)
  end
  redis.call('DEL', recent .. user, seen .. user)
end
