-- The common part of all scripts: the names of the keys, and the state of the log with its epochs (`lives`).
--
-- KEYS[1] is `{prefix}:meta`. All other keys have the same hash tag, so they are in the same slot of a cluster. Their
-- names are made here, because only the script knows which streams a batch or a trim touches.
--
-- Invariant: a script changes either nothing or everything. Every reason to refuse (no memory, a replica, an epoch that
-- is still forming) is checked before the first write.
local base = string.sub(KEYS[1], 1, -5)
local META = KEYS[1]
local LOG = base .. 'log'           -- stream: every event
local EVERY = base .. 'every'       -- stream: events that belong to every stream
local STREAMS = base .. 'streams'   -- zset: stream -> its first event; '' -> the sequence from which it is complete
local OPENS = base .. 'opens'       -- zset: pin -> its opening event
local STATES = base .. 'states'     -- zset: pin of OPENS -> the event with its newest state
local STANDING = base .. 'standing' -- zset: pins of living processes that belong to every stream
local KEPT = base .. 'kept'         -- hash: opening events kept beyond retention
local KEPT_ALL = base .. 'kept:all' -- zset: their sequences
local KEPT_BY = base .. 'kept:by'   -- zset of score 0: stream and sequence, in order
local KEPT_FIRST = base .. 'kept:first' -- zset: stream -> its first kept opening
local WRITERS = base .. 'writers'   -- zset: writer -> when it was last heard of
local DEAD = base .. 'dead'         -- zset: writers whose pins are being handed out
local HEARD = base .. 'heard'       -- hash: dead writer -> when it was last heard of
local BATCHES = base .. 'batches'   -- hash: writer -> its last batch
local WROTE = base .. 'wrote'       -- zset: writer -> the last event by it or about it
local FORMER = base .. 'former'     -- hash: pin -> the writer that it was taken from
local LOST = base .. 'lost'           -- zset: stream -> the sequence up to which its key misses events; '' for EVERY
local ONCE = base .. 'once'         -- zset: pin of an event that may be there only once -> its sequence
local EVICTED = base .. 'evicted'     -- hash: stream -> how many of its entries were trimmed; '?' when not known
local GONE = base .. 'gone'         -- hash: dead writer -> its opening events of every stream
local OPEN_PINS = base .. 'open:pins' -- hash: stream -> how many of its pins are open
-- Carried events: events before the log's oldest that remain in the key of their stream.
local CARRIED = base .. 'carried'     -- zset: `sequence:stream` of every carried event -> its sequence
local CARRIED_FIRST = base .. 'carried:first' -- zset: carried stream -> its first event
local CARRIED_BYTES = base .. 'carried:bytes' -- zset: carried stream -> bytes of its carried events
local CARRIED_EVENTS = base .. 'carried:events' -- hash: carried stream -> number of its carried events
local CARRIED_ENDED = base .. 'carried:ended' -- zset: carried stream that is not open -> when it got its last event
local ASKED = base .. 'asked'         -- zset: stream that is kept on request -> since when

local LIVES_MAX = 32
-- `Retention::PINNED_EVENTS_MAX`, `Retention::PINNED_BYTES_MAX` and `Retention::STATE_BYTES_MAX`.
local PINNED_MAX = 65536
local PINNED_BYTES_MAX = 16 * 1024 * 1024
local STATE_BYTES_MAX = PINNED_BYTES_MAX / 2
-- Approximate bytes of an SSE frame in addition to its name and payload.
local FRAME = 40

local function stream_of(key)
  return base .. 's:' .. key
end

local function pins_of(writer)
  return base .. 'pins:' .. writer
end

local function claims_of(writer)
  return base .. 'claims:' .. writer
end

local function taken_of(writer)
  return base .. 'taken:' .. writer
end

local function text(number)
  return string.format('%.0f', number)
end

local function id(sequence)
  return string.format('%.0f-0', sequence)
end

local function sequence_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- A pin is `token:stream`, or `token@writer:` for one that belongs to every stream.
local function key_of(pin)
  return string.sub(pin, (string.find(pin, ':', 1, true)) + 1)
end

-- The prefix of a stream's kept openings in KEPT_BY. The length comes first, so that members of another stream never
-- have this prefix.
local function kept_prefix(key)
  return string.char(#key) .. key
end

local function kept_place(key, sequence)
  return kept_prefix(key) .. string.format('%016.0f', sequence)
end

local function carried_member(key, sequence)
  return text(sequence) .. ':' .. key
end

-- If another program gave the key another type, it counts as empty.
local function first_entry(stream, from)
  return redis.pcall('XRANGE', stream, from, '+', 'COUNT', 1)[1]
end

local function last_entry(stream)
  return redis.pcall('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
end

-- Calls a command with many members in several calls, because Lua's stack cannot hold all of them.
local function in_pieces(command, key, list, each)
  for from = 1, #list, 500 do
    local reply = redis.call(command, key, unpack(list, from, math.min(from + 499, #list)))
    if each then each(from, reply) end
  end
end

-- An event is {name, key, pin, payload} here. An entry of the log has the fields n, k, p, b (bytes before it), t
-- (when), d (payload), in this order; an entry of one stream has n, p, d. An entry that another program wrote becomes
-- an event without a name, which the reader treats as damaged.
local function event_of_log(entry)
  local fields = entry[2]
  if fields[1] ~= 'n' or fields[3] ~= 'k' or fields[5] ~= 'p' or fields[11] ~= 'd' then return { '', '', '', '' } end
  return { fields[2], fields[4], fields[6], fields[12] }
end

local function event_of_stream(entry, key)
  local fields = entry[2]
  if fields[1] ~= 'n' or fields[3] ~= 'p' or fields[5] ~= 'd' then return { '', key, '', '' } end
  return { fields[2], key, fields[4], fields[6] }
end

local function event_of_kept(kept)
  local is_packed, event = pcall(cmsgpack.unpack, kept)
  if not is_packed or type(event) ~= 'table' then return { '', '', '', '' } end
  for field = 1, 4 do
    if type(event[field]) ~= 'string' then return { '', '', '', '' } end
  end
  return event
end

local function load_state()
  local meta = redis.call('HMGET', META, 'head', 'oldest', 'total', 'lives', 'forming', 'floor', 'every', 'kept',
    'carried', 'carried:bytes', 'leaving')
  local state = {
    head = tonumber(meta[1] or 0),
    oldest = tonumber(meta[2] or 1),
    total = tonumber(meta[3] or 0),
    lives = meta[4] or '',
    forming = tonumber(meta[5] or 0),
    floor = tonumber(meta[6] or 0),
    every = tonumber(meta[7] or 0),
    kept_bytes = tonumber(meta[8] or 0),
    carried_events = tonumber(meta[9] or 0),
    carried_bytes = tonumber(meta[10] or 0),
    -- The stream whose carried events are being removed, in several calls.
    leaving = meta[11] ~= '' and meta[11] or nil,
  }
  if not meta[1] then
    -- Another program may have deleted this hash but not the log.
    local last = last_entry(LOG)
    if last then
      state.head = sequence_of(last)
      state.total = (tonumber(last[2][8]) or 0) + #(last[2][12] or '') + FRAME
    end
  end
  return state
end

local function current_epoch(state)
  return string.match(state.lives, '(%w+):%d+$') or ''
end

-- The epochs for the caller, or '' if it knows the current one.
local function news_of_lives(state, known_epoch)
  if current_epoch(state) == known_epoch then return '' end
  return state.lives
end

-- The sequence from which on the log has every event.
local function actual_oldest(state)
  local first = first_entry(LOG, '-')
  if first then return math.max(sequence_of(first), 1) end
  return state.head + 1
end
