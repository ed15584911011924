-- Lets a writer leave. A writer without open events is removed. Otherwise the writer counts as
-- silent for long, so other writers can take over its open events immediately.

local writer, now = ARGV[1], now_ms()
if redis.call('EXISTS', pins_of(writer), claims_of(writer)) == 0 then
  redis.call('ZREM', WRITERS, writer)
else
  redis.call('HSET', HEARD, writer, text(now))
  redis.call('ZADD', WRITERS, 0, writer)
end
return { '0', '1', '' }
