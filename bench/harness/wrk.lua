-- Asks for the addresses given after "--" in turn (paths), and prints the sums as one JSON line.
function init(args)
  if #args < 2 then return end
  local requests, at = {}, 0
  for _, target in ipairs(args) do
    requests[#requests + 1] = wrk.format('GET', target)
  end
  function request()
    at = at % #requests + 1
    return requests[at]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\n{"requests":%d,"seconds":%f,"failed":%d,"refused":%d,"mean":%f,"p50":%f,"p99":%f}\n',
    summary.requests, summary.duration / 1e6, errors.connect + errors.read + errors.write + errors.timeout,
    errors.status, latency.mean / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
