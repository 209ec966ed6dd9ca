-- Remove the recent events of users, of a generation that is in a file. ARGV: prefix, owner ("<generation>:<dataset>:"),
-- then user and length of the user in bytes, for each user.
for place = 3, #ARGV, 2 do
  local types = ARGV[1] .. 'seen:' .. ARGV[2] .. ARGV[place]
  local keys = {types, ARGV[1] .. 'recent:' .. ARGV[2] .. ARGV[place]}
  for _, kind in ipairs(redis.call('SMEMBERS', types)) do
    keys[#keys + 1] = ARGV[1] .. 'seen:' .. ARGV[2] .. ARGV[place + 1] .. ':' .. ARGV[place] .. ':' .. kind
  end
  redis.call('UNLINK', unpack(keys))
end
return 1
