-- Opens the log. The epoch continues if another writer lives. Otherwise a new one begins, because no living writer
-- could notice that the newest events were lost. ARGV: 11 how long a silent writer counts as living (ms).

local state, now = load_state(), now_ms()
-- A writer that reported only to another run of the server may have died since: restored data still lists it.
local since = now - tonumber(ARGV[11])
local others = 0
if redis.call('HGET', META, 'run') == run_of_server() then
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', WRITERS, text(since), '+inf')) do
    if other ~= ARGV[1] then others = others + 1 end
  end
end
hear(ARGV[1], now)
if state.forming > 0 or others > 0 then
  local refusal = settle(state, now)
  if refusal then return refusal end
else
  begin_life(state, ARGV[4], state.head + 1)
end
redis.call('HSET', META, 'run', run_of_server())
trim(state, now, 0)
return report(state, redis.call('ZRANGE', ASKED, 0, -1))
