#!/usr/bin/env bash
# Every dashboard is of the type that Grafana publishes (npm's @grafana/schema): TypeScript checks each file as a literal of type Dashboard.
# Needs npm, and its registry at the first time.
#
#   dashboards_schema.sh CACHE_DIRECTORY
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dashboards=$here/../../monitoring/grafana/dashboards
mkdir -p "$1"
cd "$1"
command -v npm >/dev/null || { echo "dashboards_schema: npm is missing: apt-get install npm" >&2; exit 78; }
[ -d node_modules/@grafana/schema ] || npm install --no-audit --no-fund --ignore-scripts @grafana/schema@13.2.3 typescript@5.6.3 >npm.log 2>&1 ||
    { cat npm.log >&2; exit 78; }

types() {  # FILE NAME: the file as a typed literal
    printf "import type { Dashboard } from '@grafana/schema';\nexport const dashboard: Dashboard = " >"$2.ts"
    cat "$1" >>"$2.ts"
}
check() { npx --no-install tsc --noEmit --strict --skipLibCheck --moduleResolution bundler --module esnext --target es2022 "$@"; }

rm -f ./*.ts
for file in "$dashboards"/*.json; do types "$file" "dashboard-$(basename "$file" .json)"; done
check ./dashboard-*.ts
echo "dashboards of Grafana's type: $(ls ./dashboard-*.ts | wc -l)"

# The check finds what it is there for.
sed 's/"schemaVersion": [0-9]*/"schemaVersion": "many"/' "$dashboards/1-fleet.json" >wrong.json
types wrong.json wrong
if check ./wrong.ts >wrong.log; then echo "dashboards_schema: a schemaVersion that is text was not objected to" >&2; exit 1; fi
grep -q "schemaVersion\|not assignable" wrong.log
