-- Retention: trims the log, and carries the events of open streams.
--
-- The key of an open stream keeps the stream's events that are older than the oldest event of the log, so that a
-- running trace stays whole. These *carried* events count towards the bounds, and may use a share of them. Above the
-- share, one stream loses all of its carried events: the ended stream that got its last event first, or else the
-- largest stream. Such a stream is not carried again. Streams that are kept on request are carried, too, within a share
-- of their own. Above it, the largest one is no longer kept. Each call does a bounded part of the work. The log may
-- exceed its bounds until the next calls have done the rest.

-- The share of the bounds that carried events may use.
local function carried_share()
  return math.floor(tonumber(ARGV[7]) / CARRIED_DIVISOR), math.floor(tonumber(ARGV[8]) / CARRIED_DIVISOR)
end

-- Saves the counts of the carried events.
local function save_carried(state)
  redis.call('HSET', META, 'carried', text(state.carried_events), 'carried:bytes', text(state.carried_bytes),
    'leaving', state.leaving or '')
end

-- The carried events and bytes of the streams that are kept on request, and the largest of these streams.
local function asked_size()
  local events, bytes, largest, most = 0, 0, nil, -1
  for key in pairs(asked) do
    local own = tonumber(redis.call('ZSCORE', CARRIED_BYTES, key) or 0)
    events = events + tonumber(redis.call('HGET', CARRIED_EVENTS, key) or 0)
    bytes = bytes + own
    if own > most then largest, most = key, own end
  end
  return events, bytes, largest
end

-- Stops keeping a stream on request. If it has lost events, it loses its carried ones, too.
local function stop_asking(state, key)
  redis.call('ZREM', ASKED, key)
  asked[key] = nil
  if not redis.call('ZSCORE', CARRIED_FIRST, key) then return end
  if redis.call('HEXISTS', OPEN_PINS, key) == 0 then redis.call('ZADD', CARRIED_ENDED, text(now_ms()), key) end
  if redis.call('HEXISTS', EVICTED, key) == 1 then state.leaving = state.leaving or key end
end

-- Stops carrying a stream that has no carried event left.
local function stop_carrying(state, key)
  local left = tonumber(redis.call('HGET', CARRIED_EVENTS, key) or 0)
  if left > 0 then
    -- Another program has deleted carried events of the stream. Their members of the set CARRIED are still there, so
    -- they are searched for and removed.
    local suffix, stale, from = ':' .. key, {}, 0
    repeat
      local members = redis.call('ZRANGE', CARRIED, from, from + 499)
      for _, member in ipairs(members) do
        if string.sub(member, (string.find(member, ':', 1, true))) == suffix then stale[#stale + 1] = member end
      end
      from = from + 500
    until #members < 500
    in_pieces('ZREM', CARRIED, stale)
    state.carried_events = math.max(0, state.carried_events - left)
    count_evicted(key, nil)
  end
  state.carried_bytes = math.max(0, state.carried_bytes - tonumber(redis.call('ZSCORE', CARRIED_BYTES, key) or 0))
  redis.call('ZREM', CARRIED_BYTES, key)
  redis.call('ZREM', CARRIED_FIRST, key)
  redis.call('ZREM', CARRIED_ENDED, key)
  redis.call('HDEL', CARRIED_EVENTS, key)
  if redis.call('ZSCORE', STREAMS, key) then
    redis.call('PEXPIRE', stream_of(key), ARGV[10])
  else
    redis.call('DEL', stream_of(key))
    forget_evicted(key)
  end
  if state.leaving == key then state.leaving = nil end
end

-- Removes at most `limit` carried events of a stream, the oldest first. Returns how many.
local function remove_carried(state, key, limit)
  local stream, removed = stream_of(key), 0
  local first = redis.call('ZSCORE', STREAMS, key)
  local upto = first and '(' .. id(tonumber(first)) or '+'
  while removed < limit do
    local count = math.min(CARRIED_CHUNK, limit - removed)
    local entries = redis.pcall('XRANGE', stream, '-', upto, 'COUNT', count)
    local members, bytes = {}, 0
    for at, entry in ipairs(entries) do
      local sequence, event = sequence_of(entry), event_of_stream(entry, key)
      members[at] = carried_member(key, sequence)
      bytes = bytes + size_of(event)
      if event[3] ~= '' and redis.call('HEXISTS', KEPT, text(sequence)) == 0 then
        redis.call('ZREMRANGEBYSCORE', ONCE, text(sequence), text(sequence))
      end
    end
    if #entries > 0 then
      local gone = redis.call('ZREM', CARRIED, unpack(members))
      local last = sequence_of(entries[#entries])
      count_evicted(key, redis.call('XTRIM', stream, 'MINID', id(last + 1)))
      redis.call('HINCRBY', CARRIED_EVENTS, key, -gone)
      redis.call('ZINCRBY', CARRIED_BYTES, -bytes, key)
      state.carried_events = math.max(0, state.carried_events - gone)
      state.carried_bytes = math.max(0, state.carried_bytes - bytes)
      removed = removed + #entries
    end
    if #entries < count then
      stop_carrying(state, key)
      return removed
    end
  end
  local next_entry = first_entry(stream, '-')
  if next_entry then redis.call('ZADD', CARRIED_FIRST, text(sequence_of(next_entry)), key) end
  return removed
end

-- Removes carried events until they fit into their share and no ended stream is too old, at most `limit` of them.
-- Returns how many.
local function make_room(state, time_from, limit)
  local events_max, bytes_max = carried_share()
  local kept_events, kept_bytes, largest_kept = asked_size()
  while kept_events > math.floor(tonumber(ARGV[7]) / KEPT_DIVISOR)
    or kept_bytes > math.floor(tonumber(ARGV[8]) / KEPT_DIVISOR) do
    stop_asking(state, largest_kept)
    kept_events, kept_bytes, largest_kept = asked_size()
  end
  local removed = 0
  while removed < limit do
    local is_over = state.carried_events - kept_events > events_max or state.carried_bytes - kept_bytes > bytes_max
    if not state.leaving and state.carried_events > 0 then
      local ended = redis.call('ZRANGE', CARRIED_ENDED, 0, 0, 'WITHSCORES')
      if ended[1] and (is_over or tonumber(ended[2]) < time_from) then
        state.leaving = ended[1]
      elseif is_over then
        for _, key in ipairs(redis.call('ZREVRANGE', CARRIED_BYTES, 0, KEPT_STREAMS_MAX)) do
          if not asked[key] and not state.leaving then state.leaving = key end
        end
      end
    end
    if not state.leaving then break end
    removed = removed + math.max(1, remove_carried(state, state.leaving, limit - removed))
  end
  return removed
end

-- Carries the events of a stream from `registered`, its first event that was not carried yet, to the oldest one of the
-- log. Returns how many, or nothing if the stream cannot be carried.
local function carry(state, key, registered, is_carried)
  local stream = stream_of(key)
  if not is_carried and not asked[key] then
    local length, events_max = redis.pcall('XLEN', stream), carried_share()
    if type(length) ~= 'number' or length > events_max then return nil end
  end
  local first = first_entry(stream, is_carried and id(registered) or '-')
  if not first or sequence_of(first) ~= registered then return nil end
  local count, bytes, from = 0, 0, id(registered)
  repeat
    local entries = redis.call('XRANGE', stream, from, '(' .. id(state.oldest), 'COUNT', CARRIED_CHUNK)
    local members = {}
    for _, entry in ipairs(entries) do
      local sequence = sequence_of(entry)
      members[#members + 1] = text(sequence)
      members[#members + 1] = carried_member(key, sequence)
      bytes = bytes + size_of(event_of_stream(entry, key))
    end
    if #entries > 0 then
      redis.call('ZADD', CARRIED, unpack(members))
      count = count + #entries
      from = '(' .. entries[#entries][1]
    end
  until #entries < CARRIED_CHUNK
  redis.call('ZINCRBY', CARRIED_BYTES, bytes, key)
  redis.call('HINCRBY', CARRIED_EVENTS, key, count)
  state.carried_events, state.carried_bytes = state.carried_events + count, state.carried_bytes + bytes
  if not is_carried then
    redis.call('ZADD', CARRIED_FIRST, text(registered), key)
    redis.call('PEXPIRE', stream, FOREVER)
  end
  local next_entry = first_entry(stream, id(state.oldest))
  if next_entry then
    redis.call('ZADD', STREAMS, text(sequence_of(next_entry)), key)
  else
    redis.call('ZREM', STREAMS, key)
  end
  return count
end

-- Trims the key of a stream to what the log still has.
local function trim_key(state, key, registered)
  local first = trim_stream(state, key, stream_of(key), registered)
  if first then
    redis.call('ZADD', STREAMS, text(first), key)
  else
    redis.call('DEL', stream_of(key))
    redis.call('ZREM', STREAMS, key)
    forget_evicted(key)
  end
end

-- Returns for these streams whether they are open, whether they are carried, and how many of their events are gone.
local function states_of(keys)
  if #keys == 0 then return {}, {}, {} end
  return redis.call('HMGET', OPEN_PINS, unpack(keys)), redis.call('ZMSCORE', CARRIED_FIRST, unpack(keys)),
    redis.call('HMGET', EVICTED, unpack(keys))
end

-- The streams that have events before `target`, at most `limit`, as a list of {key, first event, whether to carry it,
-- whether it is carried}. Returns also the sequence up to which the list is complete, and whether one is to be carried.
local function due_streams(target, limit)
  local events_max = carried_share()
  local listed = redis.call('ZRANGEBYSCORE', STREAMS, '-inf', '(' .. text(target), 'WITHSCORES', 'LIMIT', 0, limit + 1)
  local due, is_any_held = {}, false
  local last = math.min(#listed, 2 * limit)
  if last < #listed then target = tonumber(listed[last + 2]) end
  for from = 1, last, 400 do
    local keys = {}
    for at = from, math.min(from + 398, last), 2 do keys[#keys + 1] = listed[at] end
    local open, carried, gone = states_of(keys)
    for index, key in ipairs(keys) do
      local is_held = key ~= '' and events_max > 0 and 
        (asked[key] or ((open[index] or carried[index]) and not gone[index]))
      is_any_held = is_any_held or is_held
      due[#due + 1] = {
        key = key, first = tonumber(listed[from + 2 * index - 1]), is_held = is_held, is_carried = carried[index],
      }
    end
  end
  return due, target, is_any_held
end

-- Passes the events from `from` to `target`: the log loses them, and so do the keys of streams that are not carried.
-- Passes fewer if that would be too much for one call. Returns how many events it carried, and whether it passed all.
local function pass(state, from, target, now, limits)
  local due, upto, is_any_held = due_streams(target, limits.streams)
  if is_any_held then upto = math.min(upto, from + limits.carried) end
  upto = math.max(upto, math.min(state.oldest, target))
  if upto > from then
    keep_open(state, from, upto, now)
    redis.call('XTRIM', LOG, 'MINID', id(upto))
    local first = first_entry(LOG, '-')
    state.oldest = first and sequence_of(first) or state.head + 1
    redis.call('HSET', META, 'oldest', text(state.oldest))
  end
  local count = 0
  for _, stream in ipairs(due) do
    if stream.key == '' then
      -- The entry '' has the sequence from which on the register of streams is complete.
      redis.call('ZADD', STREAMS, text(state.oldest), '')
    elseif stream.first < state.oldest then
      local carried = stream.is_held and not redis.call('ZSCORE', LOST, stream.key)
        and carry(state, stream.key, stream.first, stream.is_carried)
      if carried then
        count = count + carried
      else
        if stream.is_carried then remove_carried(state, stream.key, math.huge) end
        trim_key(state, stream.key, stream.first)
      end
    end
  end
  if upto > from then forget_once(from, upto) end
  return count, upto >= target
end

-- Trims the events that exceed the bounds of retention, and notices events that another program trimmed.
local function trim(state, now, batch)
  local time_from = now - tonumber(ARGV[9])
  local function keeps(entry)
    local sequence, own = sequence_of(entry), own_entry(entry)
    if sequence <= state.head - math.max(1, tonumber(ARGV[7]) - state.carried_events) then return false end
    if not own then return true end
    local fields = own[2]
    return (sequence >= state.head or state.total - tonumber(fields[8]) + state.carried_bytes <= tonumber(ARGV[8]))
      and tonumber(fields[10]) >= time_from
  end
  local carried_before, bytes_before, leaving_before = state.carried_events, state.carried_bytes, state.leaving
  local carried_max = CARRIED_STEP_MAX + 4 * batch
  local left = carried_max - make_room(state, time_from, carried_max)
  while left > 0 do
    local first = first_entry(LOG, '-')
    local target = first and sequence_of(first) or state.head + 1
    if first and not keeps(first) then target = first_retained(state, first, keeps) end
    if target <= state.oldest and (not first or sequence_of(first) >= target) then break end
    local from = math.min(state.oldest, first and sequence_of(first) or target)
    local limits = { carried = left, streams = VISITED_MAX + 2 * batch }
    local carried, is_done = pass(state, from, target, now, limits)
    left = left - carried
    if carried > 0 then left = left - make_room(state, time_from, math.max(1, left)) end
    if not is_done or carried == 0 then break end
  end
  if state.every > 0 and state.every < state.oldest then
    state.every = trim_stream(state, '', EVERY, state.every) or 0
    redis.call('HSET', META, 'every', text(state.every))
  end
  if state.carried_events ~= carried_before or state.carried_bytes ~= bytes_before or state.leaving ~= leaving_before then
    save_carried(state)
  end
  clean_writers(state, state.oldest, now)
end
