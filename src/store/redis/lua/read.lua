-- Reads a page, in one moment of the log. ARGV: 1 the epoch that the caller knows, 2 the kind of query (`all`,
-- `streams`, `standing`, `before`, `newest`, `evicted`, `head`), 3 the sequence after or before which to read, 4 and 5
-- the bounds on events and bytes, then the streams.
--
-- Returns: head, oldest, epochs if new, the sequence after which to continue (0 if the page is complete), and the
-- events.

local what, after, events_max, bytes_max = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
-- Entries fetched at a time: at 256 KiB each, this many are 4 MiB.
local CHUNK = 16
-- Upper bound on entries of one stream that are counted although they are not trimmed yet.
local LATE_MAX = 1000
-- Events of the log scanned in one call if a stream's own key is incomplete.
local SIFTED_MAX = 2000

local state = load_state()
state.oldest = actual_oldest(state)
local found, bytes, next_place = {}, 0, 0

local function put(sequence, event)
  found[#found + 1] = { text(sequence), event[1], event[2], event[3], event[4] }
  bytes = bytes + #event[4]
end

local function is_full(event)
  return #found > 0 and (#found >= events_max or bytes + #event[4] > bytes_max)
end

-- Iterates over a stream's entries, up to `before` if that is given.
local function cursor(stream, from, to_event, before)
  local entries, at, start, ended = {}, 0, from, false
  local upto = before and '(' .. id(before) or '+'
  return function()
    at = at + 1
    if at > #entries and not ended then
      entries = redis.pcall('XRANGE', stream, id(start), upto, 'COUNT', CHUNK)
      at, ended = 1, #entries < CHUNK
      if #entries > 0 then start = sequence_of(entries[#entries]) + 1 end
    end
    local entry = entries[at]
    if entry then return sequence_of(entry), to_event(entry) end
    return nil
  end
end

-- The first carried event of a stream, if it has any, and a sequence that is above all of its carried events.
local function carried_range(key)
  local first = state.carried_events > 0 and redis.call('ZSCORE', CARRIED_FIRST, key)
  if not first then return nil end
  return tonumber(first), math.min(state.oldest, tonumber(redis.call('ZSCORE', STREAMS, key) or nil) or state.oldest)
end

-- Iterates over the kept openings of one stream below the oldest event.
local function kept_cursor(key)
  local prefix = kept_prefix(key)
  local from = '(' .. kept_place(key, after)
  local places, at = {}, 0
  return function()
    while true do
      at = at + 1
      if at > #places then
        places = redis.call('ZRANGEBYLEX', KEPT_BY, from, '(' .. prefix .. ':', 'LIMIT', 0, 64)
        at = 1
        if #places == 0 then return nil end
        from = '(' .. places[#places]
      end
      local sequence = tonumber(string.sub(places[at], #prefix + 1))
      local kept = sequence < state.oldest and redis.call('HGET', KEPT, text(sequence))
      if kept then return sequence, event_of_kept(kept) end
    end
  end
end

-- Adds the events of the cursors in order of sequence, each once, until the page is full. Returns whether it is full.
local function merge(cursors)
  local heads, last = {}, 0
  for _, step in ipairs(cursors) do
    local sequence, event = step()
    if sequence then heads[#heads + 1] = { sequence = sequence, event = event, step = step } end
  end
  while #heads > 0 do
    local least = 1
    for index = 2, #heads do
      if heads[index].sequence < heads[least].sequence then least = index end
    end
    local head = heads[least]
    if head.sequence > last then
      if is_full(head.event) then return true end
      put(head.sequence, head.event)
      last = head.sequence
    end
    head.sequence, head.event = head.step()
    if not head.sequence then table.remove(heads, least) end
  end
  return false
end

-- The sequences before the oldest event that can be read, in order: at most `events_max` carried ones, and as many kept
-- openings.
local function sequences_beyond()
  local function list(set)
    return redis.call('ZRANGEBYSCORE', set, '(' .. text(after), '(' .. text(state.oldest), 'LIMIT', 0, events_max)
  end
  local places, known = {}, {}
  for _, member in ipairs(list(CARRIED)) do
    local colon = string.find(member, ':', 1, true)
    local sequence = tonumber(string.sub(member, 1, colon - 1))
    known[sequence] = true
    places[#places + 1] = { sequence = sequence, key = string.sub(member, colon + 1) }
  end
  for _, member in ipairs(list(KEPT_ALL)) do
    if not known[tonumber(member)] then places[#places + 1] = { sequence = tonumber(member) } end
  end
  table.sort(places, function(one, other) return one.sequence < other.sequence end)
  return places
end

-- Reads an event before the oldest one. It may be gone if another program deleted its entry.
local function event_beyond(place)
  local at = id(place.sequence)
  local entry = place.key and redis.pcall('XRANGE', stream_of(place.key), at, at)[1]
  if entry then return event_of_stream(entry, place.key) end
  local kept = redis.call('HGET', KEPT, text(place.sequence))
  return kept and event_of_kept(kept)
end

local function read_all()
  if after + 1 < state.oldest then
    for _, place in ipairs(sequences_beyond()) do
      local event = event_beyond(place)
      if event then
        if is_full(event) then return end
        put(place.sequence, event)
      end
    end
    if #found >= events_max then return end
  end
  merge({ cursor(LOG, math.max(after + 1, state.oldest), event_of_log) })
end

-- Whether the key of a stream begins with the event `first` and has lost none after it.
local function has_all_from(stream, first)
  local entry = first_entry(stream, '-')
  if not entry or sequence_of(entry) ~= first then return false end
  local info = redis.call('XINFO', 'STREAM', stream)
  for at = 1, #info, 2 do
    if info[at] == 'max-deleted-entry-id' then
      return tonumber(string.match(info[at + 1], '^%d+')) < first
    end
  end
  return true
end

-- Whether the stream's own key has all of its events from `from` on. Keys expire, and Redis or other programs may evict
-- or delete them.
local function is_complete(key, from)
  local lost = redis.call('ZSCORE', LOST, key)
  if lost and tonumber(lost) >= from then return false end
  local stream, first = EVERY, state.every
  if key ~= '' then
    local register = redis.call('ZSCORE', STREAMS, '')
    if not register or tonumber(register) > from then return false end
    stream, first = stream_of(key), carried_range(key) or tonumber(redis.call('ZSCORE', STREAMS, key) or 0)
  end
  return first == 0 or has_all_from(stream, first)
end

-- Reads the log itself, and skips events of other streams. After SIFTED_MAX events, it sets where to continue.
local function sift(wanted, from)
  local step, seen = cursor(LOG, from, event_of_log), 0
  local sequence, event = step()
  while sequence do
    if wanted[event[2]] then
      if is_full(event) then return end
      put(sequence, event)
    end
    seen = seen + 1
    if seen >= SIFTED_MAX then
      next_place = sequence
      return
    end
    sequence, event = step()
  end
end

local function read_streams()
  local keys, wanted, complete = { '' }, { [''] = true }, true
  local from = math.max(after + 1, state.oldest)
  for index = 6, #ARGV do
    keys[#keys + 1] = ARGV[index]
    wanted[ARGV[index]] = true
  end
  if after + 1 < state.oldest then
    local cursors = {}
    for _, key in ipairs(keys) do
      local first, before = carried_range(key)
      cursors[#cursors + 1] = kept_cursor(key)
      if first then
        local function to_event(entry) return event_of_stream(entry, key) end
        cursors[#cursors + 1] = cursor(stream_of(key), after + 1, to_event, before)
      end
    end
    if merge(cursors) then return end
  end
  for _, key in ipairs(keys) do complete = complete and is_complete(key, from) end
  if not complete then return sift(wanted, from) end
  local cursors = {}
  for _, key in ipairs(keys) do
    local stream = key == '' and EVERY or stream_of(key)
    cursors[#cursors + 1] = cursor(stream, from, function(entry) return event_of_stream(entry, key) end)
  end
  merge(cursors)
end

local function read_standing()
  for _, pin in ipairs(redis.call('ZRANGE', STANDING, 0, -1, 'WITHSCORES')) do
    local sequence = tonumber(pin)
    if sequence then
      local at = id(sequence)
      local entry = redis.call('XRANGE', LOG, at, at)[1]
      local kept = not entry and redis.call('HGET', KEPT, at:sub(1, -3))
      if entry then put(sequence, event_of_log(entry)) elseif kept then put(sequence, event_of_kept(kept)) end
    end
  end
end

-- The first and the last readable event of a stream.
local function range_of(key)
  local stream = stream_of(key)
  local kept = tonumber(redis.call('ZSCORE', KEPT_FIRST, key) or nil)
  local carried = carried_range(key)
  local first = carried or sequence_of(first_entry(stream, id(state.oldest)) or { '0' })
  local last = first > 0 and last_entry(stream)
  if not last then
    -- The key was deleted, but the register still has its first event.
    local registered = tonumber(redis.call('ZSCORE', STREAMS, key) or 0)
    if registered >= state.oldest then return registered, registered end
    local prefix = kept_prefix(key)
    local place = redis.call('ZREVRANGEBYLEX', KEPT_BY, '(' .. prefix .. ':', '[' .. prefix, 'LIMIT', 0, 1)[1]
    return kept, place and tonumber(string.sub(place, #prefix + 1))
  end
  return math.min(kept or first, first), sequence_of(last)
end

local function list_before()
  local below = '(' .. text(after)
  local seen = {}
  -- A stream may be in several of these sets. The set with its first event lists it.
  for _, set in ipairs({ KEPT_FIRST, CARRIED_FIRST, STREAMS }) do
    local from, listed = 0, 0
    while listed < events_max do
      local streams = redis.call('ZREVRANGEBYSCORE', set, below, '-inf', 'WITHSCORES', 'LIMIT', from, 64)
      if #streams == 0 then break end
      for at = 1, #streams, 2 do
        local key = streams[at]
        local first, last = range_of(key)
        if key ~= '' and not seen[key] and first and first >= tonumber(streams[at + 1]) and first < after then
          seen[key] = true
          found[#found + 1] = { text(first), key, text(last or first) }
          listed = listed + 1
        end
      end
      from = from + 64
    end
  end
  table.sort(found, function(one, other) return tonumber(one[1]) > tonumber(other[1]) end)
  while #found > events_max do table.remove(found) end
end

-- The newest sequence of each stream; '' stands for events of every stream.
local function list_newest()
  for index = 6, #ARGV do
    local key = ARGV[index]
    local last = last_entry(key == '' and EVERY or stream_of(key))
    if last then found[#found + 1] = { text(sequence_of(last)), key } end
  end
end

-- Whether the key of the stream has all of its carried events, if it has any.
local function is_carried_whole(key)
  local first = carried_range(key)
  return not first or has_all_from(stream_of(key), first)
end

-- The number of removed events of each stream. A stream whose number is unknown is left out.
local function list_evicted()
  for index = 6, #ARGV do
    local key = ARGV[index]
    local trimmed = tonumber(redis.call('HGET', EVICTED, key) or 0)
    if trimmed and not redis.call('ZSCORE', LOST, key) and is_carried_whole(key) then
      local carried, upto = carried_range(key)
      -- Entries that are not trimmed yet, but can no longer be read.
      local late = redis.call('XRANGE', stream_of(key), carried and id(upto) or '-', '(' .. id(state.oldest), 'COUNT',
        LATE_MAX)
      local prefix = kept_prefix(key)
      local before = carried and kept_place(key, carried) or prefix .. ':'
      local kept = redis.call('ZLEXCOUNT', KEPT_BY, '[' .. prefix, '(' .. before)
      found[#found + 1] = { text(math.max(0, trimmed + #late - kept)), key }
    end
  end
end

local readers = {
  all = read_all,
  streams = read_streams,
  standing = read_standing,
  before = list_before,
  newest = list_newest,
  evicted = list_evicted,
  head = function() end,
}
readers[what]()
return { text(state.head), text(state.oldest), news_of_lives(state, ARGV[1]), text(next_place), found }
