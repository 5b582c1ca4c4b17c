#!/usr/bin/env bash
# Gets the gateways that benchmarks/gateway/compare.py runs beside ours, into folders that git ignores. Their licences:
#   vllm-router          Apache-2.0 (a Rust binary in a Python wheel)
#   @portkey-ai/gateway  MIT (Node 18 or newer)
#   litellm[proxy]       MIT; it pulls in litellm-enterprise, which has a licence of its own: nothing here turns it on
# From the system come nginx (BSD-2-Clause) and wrk (Apache-2.0, modified): apt-get install nginx-light wrk
set -euo pipefail
cd "$(dirname "$0")/../.."
for tool in nginx wrk node npm; do
  command -v "$tool" > /dev/null || echo "note: '$tool' was not found; the comparison needs wrk and leaves out what else is missing" >&2
done
install() {
  [ -x "$1/bin/python" ] || "${PYTHON:-python3}" -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check "$2"
}
echo "vllm-router ..." && install .venv-peers-gateway "vllm-router==0.1.17"
echo "litellm ..." && install .venv-peers-litellm "litellm[proxy]==1.106.2"
if command -v npm > /dev/null; then
  echo "portkey ..."
  mkdir -p .venv-peers-portkey
  # Its streams fail ("immutable") with the newest @hono/node-server that its range allows.
  cat > .venv-peers-portkey/package.json << 'JSON'
{"private": true, "dependencies": {"@portkey-ai/gateway": "1.15.2"}, "overrides": {"@hono/node-server": "1.13.8"}}
JSON
  npm install --silent --no-fund --no-audit --prefix .venv-peers-portkey
fi
