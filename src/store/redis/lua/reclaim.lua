-- Gives a writer that was considered dead its pins back. ARGV: from 11 on, pins that the writer has open. Returns the
-- pins that the log no longer knows, because it has lost their opening events.

local writer = ARGV[1]
local state, now = load_state(), now_ms()
hear(writer, now)
local refusal = settle(state, now)
if refusal then return refusal end
local lost = {}
for index = 11, #ARGV do
  local pin = ARGV[index]
  local sequence = redis.call('ZSCORE', OPENS, pin)
  if sequence then
    if redis.call('HGET', FORMER, pin) == writer then
      -- The writer that claimed the pin may be about to close it. The entry in FORMER stays, so that `writer` learns
      -- of the close.
      disown(pin, writer, true)
    end
    redis.call('ZADD', pins_of(writer), sequence, pin)
    if key_of(pin) == '' then redis.call('ZADD', STANDING, sequence, pin) end
  elseif redis.call('SISMEMBER', taken_of(writer), pin) == 0 then
    lost[#lost + 1] = pin
  end
end
redis.call('HDEL', GONE, writer)
return report(state, lost)
