-- Appends a batch, once. ARGV: 11 the batch's number, then for each event its key, name, pin and payload. A pin is '',
-- `o<token>`, `c<token>` or `s<token>`. The letter of a deduplicated event is a capital. The reply has the indices, from 0 on, of
-- the events that were left out as duplicates.

local writer, number = ARGV[1], ARGV[11]
local state, now = load_state(), now_ms()
local revived = hear(writer, now)
local refusal = settle(state, now)
if refusal then return refusal end

local done, at, left_out = string.match(redis.call('HGET', BATCHES, writer) or '', '^(%d+) (%d+) ?(.*)$')
if done == number then return report(state, at, revived, left_out) end

local first = state.head + 1
local keys, opened, final, stated = {}, {}, {}, {}
local time = text(now)

local repeated, places, here = {}, {}, {}

-- Returns whether the event must be left out, because it is deduplicated, and the log or this batch already has it. A
-- start is also left out if its own end is there, because it must never come after that end.
local function is_repeated(key, pin)
  local kind = string.sub(pin, 1, 1)
  if kind ~= 'O' and kind ~= 'C' then return false end
  local token = string.sub(pin, 2) .. ':' .. key
  local opening, closing = 'O' .. token, 'C' .. token
  if here[closing] or is_there(state, closing) then return true end
  if kind == 'O' and (here[opening] or is_there(state, opening)) then return true end
  here[kind .. token] = true
  return false
end

local function add(sequence, key, name, pin, payload)
  local kind = string.sub(pin, 1, 1)
  if kind == 'O' or kind == 'C' then
    redis.call('ZADD', ONCE, text(sequence), pin .. ':' .. key)
    pin = string.lower(kind) .. string.sub(pin, 2)
  end
  local at = id(sequence)
  redis.call('XADD', LOG, at, 'n', name, 'k', key, 'p', pin, 'b', text(state.total), 't', time, 'd', payload)
  local stream = EVERY
  if key ~= '' then
    stream = stream_of(key)
    if not keys[key] then
      keys[key] = sequence
      keys[#keys + 1] = key
    end
  elseif state.every == 0 then
    state.every = sequence
    redis.call('HSET', META, 'every', text(sequence))
  end
  local added = redis.pcall('XADD', stream, at, 'n', name, 'p', pin, 'd', payload)
  if type(added) == 'table' and added.err then
    -- The key is left over from an earlier log of this name.
    redis.call('DEL', stream)
    redis.call('XADD', stream, at, 'n', name, 'p', pin, 'd', payload)
  end
  state.total = state.total + #name + #payload + FRAME
  if kind == 's' then
    if key ~= '' then stated[string.sub(pin, 2) .. ':' .. key] = sequence end
  elseif pin ~= '' then
    -- For events of every stream, each writer has its own tokens.
    local open = string.sub(pin, 2) .. (key == '' and '@' .. writer .. ':' or ':' .. key)
    if final[open] == nil then opened[#opened + 1] = open end
    stated[open] = nil
    final[open] = string.sub(pin, 1, 1) == 'o' and sequence
  end
end

local handed = (#ARGV - 11) / 4
for index = 0, handed - 1 do
  local from = 12 + 4 * index
  if is_repeated(ARGV[from], ARGV[from + 2]) then
    repeated[#repeated + 1] = text(index)
  else
    places[#places + 1] = from
  end
end
left_out = table.concat(repeated, ',')
local count = #places
if count > 0 then
  -- If another program appended entries to the log, the batch follows them: Redis would refuse a smaller id.
  local last = last_entry(LOG)
  if last and sequence_of(last) >= first then
    first = sequence_of(last) + 1
  end
end
for index = 0, count - 1 do
  local from = places[index + 1]
  add(first + index, ARGV[from], ARGV[from + 1], ARGV[from + 2], ARGV[from + 3])
end
state.head = first + count - 1

-- The streams of the batch that have carried events, as a set.
local carried = {}
if state.carried_events > 0 then
  in_pieces('ZMSCORE', CARRIED_FIRST, keys, function(from, firsts)
    for index = 1, #firsts do
      if firsts[index] then carried[keys[from + index - 1]] = true end
    end
  end)
end

local function register_streams()
  if not redis.call('ZSCORE', STREAMS, '') then
    redis.call('ZADD', STREAMS, text(first), '')
  end
  local scores = {}
  for _, key in ipairs(keys) do
    scores[#scores + 1] = text(keys[key])
    scores[#scores + 1] = key
    if not carried[key] then redis.call('PEXPIRE', stream_of(key), ARGV[10]) end
  end
  for from = 1, #scores, 500 do
    redis.call('ZADD', STREAMS, 'NX', unpack(scores, from, math.min(from + 499, #scores)))
  end
end

local function move_pins()
  if #opened == 0 then return end
  local pins, now_closed, now_open, standing = pins_of(writer), {}, {}, {}
  local before, own = {}, {}
  in_pieces('ZMSCORE', OPENS, opened, function(from, scores)
    for index = 1, #scores do before[opened[from + index - 1]] = tonumber(scores[index] or nil) end
  end)
  in_pieces('ZMSCORE', pins, opened, function(from, scores)
    for index = 1, #scores do own[opened[from + index - 1]] = scores[index] and true end
  end)
  local former = {}
  if redis.call('EXISTS', FORMER) == 1 then
    in_pieces('HMGET', FORMER, opened, function(from, writers)
      for index = 1, #writers do former[opened[from + index - 1]] = writers[index] end
    end)
  end
  local room = PINNED_MAX - redis.call('ZCARD', OPENS)
  local unpinned, changes = 0, {}
  for _, pin in ipairs(opened) do
    local earlier, sequence = before[pin], final[pin]
    if earlier then
      if earlier < state.oldest then release(state, earlier) end
      if former[pin] or not own[pin] then
        local of = disown(pin, writer)
        if of and of ~= writer then redis.call('ZADD', WROTE, 'XX', text(state.head), of) end
      end
      room = room + 1
    end
    local key = key_of(pin)
    changes[key] = (changes[key] or 0) - (earlier and 1 or 0) + (sequence and room > 0 and 1 or 0)
    if not sequence or room <= 0 then
      if sequence then unpinned = unpinned + 1 end
      now_closed[#now_closed + 1] = pin
    else
      room = room - 1
      now_open[#now_open + 1] = text(sequence)
      now_open[#now_open + 1] = pin
    end
    if key == '' then standing[#standing + 1] = pin end
  end
  in_pieces('ZREM', OPENS, now_closed)
  in_pieces('ZREM', pins, now_closed)
  in_pieces('ZADD', OPENS, now_open)
  in_pieces('ZADD', pins, now_open)
  for key, change in pairs(changes) do count_open(key, change, now) end
  for _, pin in ipairs(standing) do
    if final[pin] then
      redis.call('ZADD', STANDING, text(final[pin]), pin)
    else
      redis.call('ZREM', STANDING, pin)
    end
  end
  if redis.call('EXISTS', taken_of(writer)) == 1 then in_pieces('SREM', taken_of(writer), opened) end
  if unpinned > 0 then redis.call('HINCRBY', META, 'unpinned', unpinned) end
end

-- Replaces the states of pins that the batch has opened or closed, and adds its own states of open pins.
local function move_states()
  if #opened > 0 and redis.call('EXISTS', STATES) == 1 then
    for _, pin in ipairs(opened) do drop_state(state, pin) end
  end
  for pin, sequence in pairs(stated) do
    if redis.call('ZSCORE', OPENS, pin) then
      drop_state(state, pin)
      redis.call('ZADD', STATES, text(sequence), pin)
    end
  end
end

-- Notes the time of the last event of each carried stream in the batch. A stream that is open or kept on request has
-- not ended.
local function move_carried()
  for key in pairs(carried) do
    if asked[key] or redis.call('HEXISTS', OPEN_PINS, key) == 1 then
      redis.call('ZREM', CARRIED_ENDED, key)
    else
      redis.call('ZADD', CARRIED_ENDED, time, key)
    end
  end
end

if count > 0 then
  register_streams()
  move_pins()
  move_states()
  move_carried()
  redis.call('ZADD', WROTE, text(state.head), writer)
  redis.call('HSET', META, 'head', text(state.head), 'total', text(state.total))
  trim(state, now, count)
end
if handed > 0 then redis.call('HSET', BATCHES, writer, number .. ' ' .. text(first) .. ' ' .. left_out) end
return report(state, text(first), revived, left_out)
