-- Applies retention, and returns pins (open events) that dead writers left open. A returned pin moves to the claims of
-- the caller. If the caller dies, another writer gets its claims together with its own pins.
--
-- ARGV, after those of `writing.lua`:
-- 11 how long a writer is silent before it counts as dead (ms)
-- 12, 13 the bounds on the returned events and bytes
-- 14 `again` if a reply was lost: the caller's own claims are then returned once more
-- 15 the number of the pins that follow: they were returned before and are now settled
-- The rest: pins that the writer knows were taken from it.

local writer = ARGV[1]
local state, now = load_state(), now_ms()
local revived = hear(writer, now)
local refusal = settle(state, now)
if refusal then return refusal end
trim(state, now, 0)

local settled, known_taken, confirmed = {}, {}, tonumber(ARGV[15])
for index = 16, #ARGV do
  if index < 16 + confirmed then
    settled[#settled + 1] = ARGV[index]
  else
    known_taken[#known_taken + 1] = ARGV[index]
  end
end
in_pieces('ZREM', claims_of(writer), settled)
in_pieces('SREM', taken_of(writer), known_taken)

local function bury(other, score)
  local heard = redis.call('HGET', HEARD, other) or text(tonumber(score))
  redis.call('ZREM', WRITERS, other)
  if redis.call('EXISTS', pins_of(other), claims_of(other)) > 0 then
    redis.call('HSET', HEARD, other, heard)
    redis.call('ZADD', DEAD, heard, other)
  end
end

local silent = redis.call('ZRANGEBYSCORE', WRITERS, '-inf', '(' .. text(now - tonumber(ARGV[11])), 'WITHSCORES',
  'LIMIT', 0, 16)
for at = 1, #silent, 2 do
  if silent[at] ~= writer then bury(silent[at], silent[at + 1]) end
end

local found, bytes = {}, 0
local function hand_out(from, pin, sequence, other)
  redis.call('ZREM', from, pin)
  local key = key_of(pin)
  local event = fetch(sequence, key)
  if not event then
    -- Another program deleted the event, so there is nothing to close.
    forget_pin(state, pin, now)
    redis.call('ZREM', STANDING, pin)
    redis.call('HDEL', FORMER, pin)
    return
  end
  local former = redis.call('HGET', FORMER, pin)
  if not former then
    former = other
    redis.call('HSET', FORMER, pin, other)
  end
  if key == '' and redis.call('ZREM', STANDING, pin) == 1 then
    local gone = redis.call('HGET', GONE, other)
    redis.call('HSET', GONE, other, (gone and gone .. ' ' or '') .. text(sequence))
    -- The dead writer is remembered until all events that are returned with this one are closed.
    redis.call('ZADD', WROTE, text(state.head), other)
  end
  redis.call('ZADD', claims_of(writer), text(sequence), pin)
  bytes = bytes + size_of(event)
  found[#found + 1] = {
    text(sequence), event[1], event[2], event[3], event[4],
    redis.call('HGET', HEARD, former) or redis.call('HGET', HEARD, other) or text(now), pin,
  }
end

local function is_full()
  return #found >= tonumber(ARGV[12]) or bytes >= tonumber(ARGV[13])
end

local function hand_out_all(from, other)
  local pins = redis.call('ZRANGE', from, 0, tonumber(ARGV[12]) - 1, 'WITHSCORES')
  for at = 1, #pins, 2 do
    if is_full() then return end
    hand_out(from, pins[at], tonumber(pins[at + 1]), other)
  end
end

if ARGV[14] == 'again' then hand_out_all(claims_of(writer), writer) end
for _, other in ipairs(redis.call('ZRANGE', DEAD, 0, 15)) do
  hand_out_all(claims_of(other), other)
  hand_out_all(pins_of(other), other)
  if redis.call('EXISTS', pins_of(other), claims_of(other)) == 0 then redis.call('ZREM', DEAD, other) end
end

return report(state, revived, redis.call('SRANDMEMBER', taken_of(writer), 500), found)
