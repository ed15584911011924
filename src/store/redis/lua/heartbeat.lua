-- Records that the writer lives, with the epoch and the newest sequence that it knows. Also returns the streams that
-- are kept on request.

local state, now = load_state(), now_ms()
local revived = hear(ARGV[1], now)
local refusal = settle(state, now)
if refusal then return refusal end
redis.call('HSET', META, 'run', run_of_server())
return report(state, revived, redis.call('ZRANGE', ASKED, 0, -1))
