-- Sends the requests of a file in turn, says when it has sent as many as it was told, and at the end tells what came
-- of them as one line of JSON.
-- Arguments after `--`: the file (each request behind its length, eight digits), and the number of requests.

local waiting, next_one, sent, limit = {}, 0, 0, 0

function init(args)
  local file = assert(io.open(args[1], "rb"))
  limit = tonumber(args[2])
  while true do
    local length = file:read(8)
    if not length then break end
    waiting[#waiting + 1] = file:read(tonumber(length))
  end
  file:close()
end

function request()
  sent = sent + 1
  if sent == limit then  -- only a signal ends wrk before its time, so whoever started it is told
    io.stderr:write("sent\n")
    io.stderr:flush()
  end
  next_one = next_one % #waiting + 1
  return waiting[next_one]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,' ..
    '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
