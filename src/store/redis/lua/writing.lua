-- The common part of all scripts that write: how epochs (`lives`) begin, pins move, and retention trims.
--
-- ARGV:
-- 1 the writer
-- 2, 3 the epoch and the newest sequence that the writer knows
-- 4 the name of the new epoch, if one begins
-- 5 the epochs that the writer knows
-- 6 how long to wait for reports of living writers before an epoch begins (ms)
-- 7, 8, 9 retention: events, bytes, age (ms)
-- 10 how long a stream's key lives (ms)

-- Upper bound on streams that one step of retention visits. Each event of the batch raises it by two.
local VISITED_MAX = 512
-- Upper bound on the events that one call adds to or removes from the carried events. Each event of the batch raises it
-- by four.
local CARRIED_STEP_MAX = 2048
-- `Retention::CARRIED_DIVISOR`.
local CARRIED_DIVISOR = 4
-- `Retention::KEPT_DIVISOR` and `Retention::KEPT_STREAMS_MAX`.
local KEPT_DIVISOR = 8
local KEPT_STREAMS_MAX = 16
-- Entries of a stream's key read at a time: at 256 KiB each, this many are 8 MiB.
local CARRIED_CHUNK = 32
-- How long the key of a carried stream lives (ms): about three thousand years. Only retention removes it.
local FOREVER = '100000000000000'
-- Upper bound on foreign entries in a row that are skipped to find one of ours.
local FOREIGN_MAX = 100

-- The streams that are kept on request, as a set.
local asked = {}
for _, key in ipairs(redis.call('ZRANGE', ASKED, 0, -1)) do asked[key] = true end

local function begin_life(state, epoch, first)
  local lives = {}
  for known, at in string.gmatch(state.lives, '(%w+):(%d+)') do
    -- An epoch in which no sequence was assigned is forgotten.
    if tonumber(at) < first then lives[#lives + 1] = known .. ':' .. at end
  end
  lives[#lives + 1] = epoch .. ':' .. text(first)
  local from = math.max(1, #lives - LIVES_MAX + 1)
  if state.lives == '' and not first_entry(LOG, '-') then
    -- Deletes keys left over from an earlier log: they would be used as data of this one.
    redis.call('DEL', EVERY, STREAMS, OPENS, STANDING, KEPT, KEPT_ALL, KEPT_BY, KEPT_FIRST, FORMER, GONE, LOST, ONCE,
      STATES, EVICTED, OPEN_PINS, CARRIED, CARRIED_FIRST, CARRIED_BYTES, CARRIED_EVENTS, CARRIED_ENDED,
      ASKED)
    asked = {}
    state.every, state.kept_bytes, state.oldest = 0, 0, first
    state.carried_events, state.carried_bytes, state.leaving = 0, 0, nil
  end
  state.lives = table.concat(lives, ' ', from)
  state.head = first - 1
  state.forming, state.floor = 0, 0
  redis.call('HDEL', META, 'forming', 'floor')
  redis.call('HSET', META, 'lives', state.lives, 'head', text(state.head), 'total', text(state.total),
    'oldest', text(state.oldest))
end

-- Returns whether the log in its present state can have issued the sequence that the caller knows.
local function is_known(state, epoch, sequence)
  if state.lives == '' then return false end
  if sequence == 0 then return true end
  local found = false
  for known, at in string.gmatch(state.lives, '(%w+):(%d+)') do
    if found then return tonumber(at) > sequence end
    found = known == epoch
  end
  return found and state.head >= sequence
end

-- Makes sure that the log has an epoch in which no known sequence is assigned again. If the log has lost its newest
-- events, every living writer must first report its newest sequence: the error reply tells the caller to wait.
local function settle(state, now)
  local known = tonumber(ARGV[3])
  if state.forming == 0 then
    if is_known(state, ARGV[2], known) then return nil end
    if known == 0 then
      begin_life(state, ARGV[4], state.head + 1)
      return nil
    end
    state.forming = now + tonumber(ARGV[6])
  end
  local lives = state.lives
  if known >= state.floor and (lives == '' or string.sub(ARGV[5], 1, #lives + 1) == lives .. ' ') then
    -- The caller remembers epochs that the log has lost.
    state.lives = ARGV[5]
  end
  state.floor = math.max(state.floor, known, state.head)
  if now >= state.forming then
    begin_life(state, ARGV[4], state.floor + 1)
    return nil
  end
  redis.call('HSET', META, 'forming', text(state.forming), 'floor', text(state.floor), 'lives', state.lives,
    'head', text(state.head), 'total', text(state.total))
  return redis.error_reply('FORMING the log has lost its newest events, and a new epoch of it begins')
end

-- Returns the id of this run of the server, or '' if the user may not ask.
local function run_of_server()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

-- Records that the writer lives. Returns 1 if the writer is new to the log, or was considered dead.
local function hear(writer, now)
  local added = redis.call('ZADD', WRITERS, text(now), writer)
  if added == 1 then
    redis.call('ZREM', DEAD, writer)
    redis.call('HDEL', HEARD, writer)
  end
  return added
end

local function fetch(sequence, key)
  local at = id(sequence)
  local entry = redis.call('XRANGE', LOG, at, at)[1]
  if entry then return event_of_log(entry) end
  local kept = redis.call('HGET', KEPT, text(sequence))
  if kept then return event_of_kept(kept) end
  -- Another program may have trimmed the log but not the stream.
  entry = redis.call('XRANGE', key == '' and EVERY or stream_of(key), at, at)[1]
  if entry then return event_of_stream(entry, key) end
  return nil
end

local function size_of(event)
  return #event[1] + #event[4] + FRAME
end

local function set_first_kept(key)
  local from = kept_prefix(key)
  local first = redis.call('ZRANGEBYLEX', KEPT_BY, '[' .. from, '(' .. from .. ':', 'LIMIT', 0, 1)[1]
  if first then
    redis.call('ZADD', KEPT_FIRST, text(tonumber(string.sub(first, #from + 1))), key)
  else
    redis.call('ZREM', KEPT_FIRST, key)
  end
end

-- Forgets the count of trimmed events of a stream that has no event left.
local function forget_evicted(key)
  if not redis.call('ZSCORE', STREAMS, key) and not redis.call('ZSCORE', KEPT_FIRST, key)
    and not redis.call('ZSCORE', CARRIED_FIRST, key) then
    redis.call('HDEL', EVICTED, key)
  end
end

-- Counts events trimmed from a stream's own key. `trimmed` is nil if another program has deleted some of them: the
-- count is unknown from then on.
local function count_evicted(key, trimmed)
  if key == '' or trimmed == 0 then return end
  if not trimmed then
    redis.call('HSET', EVICTED, key, '?')
  elseif redis.call('HGET', EVICTED, key) ~= '?' then
    redis.call('HINCRBY', EVICTED, key, trimmed)
  end
end

-- Deletes an opening event or a state that was kept beyond retention. Does nothing if it is not kept.
local function release(state, sequence)
  local at = text(sequence)
  local kept = redis.call('HGET', KEPT, at)
  if not kept then return end
  local event = event_of_kept(kept)
  redis.call('HDEL', KEPT, at)
  redis.call('ZREM', KEPT_ALL, at)
  if not redis.call('ZSCORE', CARRIED, carried_member(event[2], sequence)) then
    redis.call('ZREMRANGEBYSCORE', ONCE, at, at)
  end
  redis.call('ZREM', KEPT_BY, kept_place(event[2], sequence))
  state.kept_bytes = math.max(0, state.kept_bytes - size_of(event))
  redis.call('HSET', META, 'kept', text(state.kept_bytes))
  if event[2] ~= '' then
    set_first_kept(event[2])
    forget_evicted(event[2])
  end
end

-- Removes a pin from the pins of all writers except `writer`, and from all claims. If FORMER has another writer for the
-- pin, the pin is added to that writer's `taken` set. Removes the entry of FORMER unless `keep_former`, and returns its
-- writer.
local function disown(pin, writer, keep_former)
  local former = redis.call('HGET', FORMER, pin)
  if former then
    if former ~= writer then
      redis.call('SADD', taken_of(former), pin)
      redis.call('PEXPIRE', taken_of(former), 86400000)
    end
    if not keep_former then redis.call('HDEL', FORMER, pin) end
  end
  for _, other in ipairs(redis.call('ZRANGE', WRITERS, 0, -1)) do
    if other ~= writer then redis.call('ZREM', pins_of(other), pin) end
    redis.call('ZREM', claims_of(other), pin)
  end
  for _, other in ipairs(redis.call('ZRANGE', DEAD, 0, -1)) do
    redis.call('ZREM', pins_of(other), pin)
    redis.call('ZREM', claims_of(other), pin)
  end
  return former
end

-- Changes the number of open pins of a stream. A carried stream without an open pin has ended.
local function count_open(key, change, now)
  if key == '' or change == 0 then return end
  if redis.call('HINCRBY', OPEN_PINS, key, change) <= 0 then
    redis.call('HDEL', OPEN_PINS, key)
    if not asked[key] and redis.call('ZSCORE', CARRIED_FIRST, key) then
      redis.call('ZADD', CARRIED_ENDED, text(now), key)
    end
  end
end

-- Removes the state of a pin, which is closed or has a newer state.
local function drop_state(state, pin)
  local sequence = tonumber(redis.call('ZSCORE', STATES, pin) or nil)
  if not sequence then return end
  redis.call('ZREM', STATES, pin)
  if sequence < state.oldest then release(state, sequence) end
end

-- Removes a pin that nobody will close.
local function forget_pin(state, pin, now)
  if redis.call('ZREM', OPENS, pin) == 1 then count_open(key_of(pin), -1, now) end
  drop_state(state, pin)
end

-- Keeps the event beyond retention, unless all events that are kept in this way would then have more than `bytes_max`
-- bytes. Returns whether it is kept.
local function keep(state, sequence, key, bytes_max)
  local event = fetch(sequence, key)
  local bytes = event and size_of(event) or 0
  if not event or state.kept_bytes + bytes > bytes_max then return false end
  if redis.call('HSET', KEPT, text(sequence), cmsgpack.pack(event)) == 1 then
    redis.call('ZADD', KEPT_ALL, text(sequence), text(sequence))
    redis.call('ZADD', KEPT_BY, 0, kept_place(event[2], sequence))
    if event[2] ~= '' then redis.call('ZADD', KEPT_FIRST, 'NX', text(sequence), event[2]) end
    state.kept_bytes = state.kept_bytes + bytes
    redis.call('HSET', META, 'kept', text(state.kept_bytes))
  end
  return true
end

-- Keeps the open events and the states among the events that are about to be trimmed. Events beyond the bound on bytes
-- are forgotten, and counted as unpinned.
local function keep_open(state, from, to, now)
  local opens = redis.call('ZRANGEBYSCORE', OPENS, text(from), '(' .. text(to), 'WITHSCORES')
  for at = 1, #opens, 2 do
    local pin, sequence = opens[at], tonumber(opens[at + 1])
    if not keep(state, sequence, key_of(pin), PINNED_BYTES_MAX) then
      forget_pin(state, pin, now)
      redis.call('ZREM', STANDING, pin)
      disown(pin, '')
      redis.call('HINCRBY', META, 'unpinned', 1)
    end
  end
  local states = redis.call('ZRANGEBYSCORE', STATES, text(from), '(' .. text(to), 'WITHSCORES')
  for at = 1, #states, 2 do
    local pin, sequence = states[at], tonumber(states[at + 1])
    if not keep(state, sequence, key_of(pin), STATE_BYTES_MAX) then
      redis.call('ZREM', STATES, pin)
      redis.call('HINCRBY', META, 'unpinned', 1)
    end
  end
end

-- Whether an event before the oldest one of the log can still be read.
local function is_beyond(key, sequence)
  return redis.call('HEXISTS', KEPT, text(sequence)) == 1
    or redis.call('ZSCORE', CARRIED, carried_member(key, sequence))
end

-- Removes trimmed events from ONCE, except those that are kept or carried beyond retention.
local function forget_once(from, to)
  local gone = {}
  local old = redis.call('ZRANGEBYSCORE', ONCE, text(from), '(' .. text(to), 'WITHSCORES')
  for at = 1, #old, 2 do
    if not is_beyond(key_of(old[at]), tonumber(old[at + 1])) then gone[#gone + 1] = old[at] end
  end
  in_pieces('ZREM', ONCE, gone)
end

-- Whether the log has an event with this pin. Call it only for pins that at most one event may have.
local function is_there(state, pin)
  local sequence = tonumber(redis.call('ZSCORE', ONCE, pin) or nil)
  return sequence and (sequence >= state.oldest or is_beyond(key_of(pin), sequence))
end

-- Trims the old events of one stream's own key, and returns the first remaining one. If the key's first event differs
-- from the register, another program has deleted events. Readers then read the log itself, until retention has removed
-- all events that may be missing from the key.
local function trim_stream(state, key, stream, registered)
  local first = first_entry(stream, '-')
  if not first or sequence_of(first) ~= registered then
    redis.call('ZADD', LOST, 'NX', text(state.head), key)
    count_evicted(key, nil)
  end
  count_evicted(key, redis.call('XTRIM', stream, 'MINID', id(state.oldest)))
  local lost = redis.call('ZSCORE', LOST, key)
  if lost and tonumber(lost) < state.oldest then
    redis.call('ZREM', LOST, key)
    lost = nil
  end
  first = first_entry(stream, '-')
  if first then return sequence_of(first) end
  return lost and state.oldest or nil
end

-- Forgets writers whose last event is removed, at most 16 per call. Living writers, and dead writers that still have
-- pins or claims, are not forgotten.
local function clean_writers(state, oldest, now)
  local old = redis.call('ZRANGEBYSCORE', WROTE, '-inf', '(' .. text(oldest), 'LIMIT', 0, 16)
  for _, writer in ipairs(old) do
    if redis.call('ZSCORE', WRITERS, writer) or redis.call('ZSCORE', DEAD, writer) then
      redis.call('ZADD', WROTE, text(state.head), writer)
    else
      for sequence in string.gmatch(redis.call('HGET', GONE, writer) or '', '%d+') do
        for _, pin in ipairs(redis.call('ZRANGEBYSCORE', OPENS, sequence, sequence)) do
          forget_pin(state, pin, now)
          disown(pin, '')
        end
        release(state, tonumber(sequence))
      end
      redis.call('HDEL', GONE, writer)
      redis.call('HDEL', HEARD, writer)
      redis.call('HDEL', BATCHES, writer)
      redis.call('ZREM', WROTE, writer)
    end
  end
end

-- Finds the first sequence that retention keeps, starting from an entry that it does not keep. Steps double first, then
-- the range is halved: most calls remove few events, and some remove very many.
local function first_retained(state, first, keeps)
  local low, high, step = sequence_of(first), nil, 1
  while not high do
    local at = low + step
    local entry = at <= state.head and first_entry(LOG, id(at))
    if not entry then
      high = state.head + 1
    elseif keeps(entry) then
      high = math.min(at, sequence_of(entry))
    else
      low, step = sequence_of(entry), step * 2
    end
  end
  while high - low > 1 do
    local middle = math.floor((low + high) / 2)
    local entry = first_entry(LOG, id(middle))
    if not entry or keeps(entry) then high = middle else low = middle end
  end
  return high
end

-- Returns the first entry, from this one on, that has a time and the number of bytes before it. Entries that another
-- program wrote have neither. Returns nil after `FOREIGN_MAX` of them.
local function own_entry(entry)
  for _ = 1, FOREIGN_MAX do
    if not entry or (tonumber(entry[2][8]) and tonumber(entry[2][10])) then return entry end
    entry = first_entry(LOG, '(' .. entry[1])
  end
  return nil
end

-- The reply to every writer: the head, the oldest event, and the epochs if they are new to it.
local function report(state, ...)
  return { text(state.head), text(state.oldest), news_of_lives(state, ARGV[2]), ... }
end
