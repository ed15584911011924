-- Keeps a stream on request, or stops keeping it. ARGV: 11 `keep` or `stop`, 12 the stream.
--
-- Returns `kept`, `stopped`, `unknown`, `many` or `large`, and the streams that are kept.

local state, now = load_state(), now_ms()
local revived = hear(ARGV[1], now)
local refusal = settle(state, now)
if refusal then return refusal end
local key = ARGV[12]
local events_max = math.floor(tonumber(ARGV[7]) / KEPT_DIVISOR)
local bytes_max = math.floor(tonumber(ARGV[8]) / KEPT_DIVISOR)

-- The number and bytes of a stream's events. The bytes are 0 if there are too many events. They are
-- counted only until they exceed their bound.
local function size_of_stream(stream)
  local events, bytes, from = redis.call('XLEN', stream), 0, '-'
  if events > events_max then return events, 0 end
  repeat
    local entries = redis.call('XRANGE', stream, from, '+', 'COUNT', CARRIED_CHUNK)
    for _, entry in ipairs(entries) do bytes = bytes + size_of(event_of_stream(entry, key)) end
    if #entries > 0 then from = '(' .. entries[#entries][1] end
  until #entries < CARRIED_CHUNK or bytes > bytes_max
  return events, bytes
end

local function keep()
  if asked[key] then return 'kept' end
  while state.leaving == key do remove_carried(state, key, math.huge) end
  local events, bytes = size_of_stream(stream_of(key))
  if events == 0 and not redis.call('ZSCORE', KEPT_FIRST, key) then return 'unknown' end
  local count = 0
  for other in pairs(asked) do
    local more, size = size_of_stream(stream_of(other))
    count, events, bytes = count + 1, events + more, bytes + size
  end
  if count >= KEPT_STREAMS_MAX then return 'many' end
  if events > events_max or bytes > bytes_max then return 'large' end
  redis.call('ZADD', ASKED, text(now), key)
  redis.call('ZREM', CARRIED_ENDED, key)
  asked[key] = true
  return 'kept'
end

local outcome
if ARGV[11] == 'keep' then
  outcome = keep()
else
  outcome = asked[key] and 'stopped' or 'unknown'
  if asked[key] then stop_asking(state, key) end
end
save_carried(state)
return report(state, revived, outcome, redis.call('ZRANGE', ASKED, 0, -1))
